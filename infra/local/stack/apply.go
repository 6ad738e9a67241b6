package stack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// manager is the field manager of what the stack itself writes.
const manager = "fallback-local"

// Client returns a REST configuration for a kubeconfig of the stack, with limits that fit a server of one's own.
func restConfig(kubeconfig string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst, cfg.UserAgent = 200, 400, manager
	return cfg, nil
}

// decode splits YAML documents into objects.
func decode(docs []byte) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(docs)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal(doc, &u.Object); err != nil {
			return nil, err
		}
		if len(u.Object) > 0 {
			all = append(all, u)
		}
	}
}

// decodeFiles reads every YAML file of a directory.
func decodeFiles(dir string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		objs, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		all = append(all, objs...)
	}
	return all, nil
}

// toUnstructured turns a typed object into what the dynamic client takes.
func toUnstructured(obj any) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: m}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}

func resource(dyn dynamic.Interface, u *unstructured.Unstructured) dynamic.ResourceInterface {
	gvr, _ := meta.UnsafeGuessKindToResource(u.GroupVersionKind())
	if ns := u.GetNamespace(); ns != "" {
		return dyn.Resource(gvr).Namespace(ns)
	}
	return dyn.Resource(gvr)
}

// apply writes an object server-side and returns it as it is now. A kind that is not served yet (its definition is seconds old), a namespace
// that is being made and a server that is too busy are waited for.
func apply(ctx context.Context, dyn dynamic.Interface, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	opts := metav1.ApplyOptions{FieldManager: manager, Force: true}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		got, err := resource(dyn, u).Apply(ctx, u.GetName(), u, opts)
		if err == nil {
			return got, nil
		}
		if !mayPass(err) {
			return nil, fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("apply %s %s: %w (%w)", u.GetKind(), u.GetName(), err, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// mayPass tells whether the same request may be answered otherwise soon; on a busy machine etcd answers too late now and then.
func mayPass(err error) bool {
	for _, is := range []func(error) bool{apierrors.IsNotFound, apierrors.IsConflict, apierrors.IsServerTimeout, apierrors.IsTimeout,
		apierrors.IsTooManyRequests, apierrors.IsInternalError, apierrors.IsServiceUnavailable} {
		if is(err) {
			return true
		}
	}
	return false
}

// byName selects one object.
func byName(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

// await watches the selected objects until ok says so of one; what ok says it lacks is in the error when ctx ends first.
func await(ctx context.Context, ri dynamic.ResourceInterface, which metav1.ListOptions, ok func(*unstructured.Unstructured) (done bool, lacks string)) error {
	lacks, name := "it does not exist", strings.TrimPrefix(which.FieldSelector+which.LabelSelector, "metadata.name=")
	for {
		w, err := ri.Watch(ctx, which)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		done, err := func() (bool, error) {
			defer w.Stop()
			for {
				select {
				case <-ctx.Done():
					return false, fmt.Errorf("wait for %s: %s: %w", name, lacks, context.Cause(ctx))
				case e, open := <-w.ResultChan():
					if !open {
						return false, nil // the server ends watches now and then
					}
					u, is := e.Object.(*unstructured.Unstructured)
					if !is || e.Type == watch.Error {
						return false, nil
					}
					if e.Type == watch.Deleted {
						lacks = "it was deleted"
						continue
					}
					var done bool
					if done, lacks = ok(u); done {
						return true, nil
					}
				}
			}
		}()
		if done || err != nil {
			return err
		}
	}
}

// condition makes a check that a condition has the status True.
func condition(kind string) func(*unstructured.Unstructured) (bool, string) {
	return func(u *unstructured.Unstructured) (bool, string) {
		all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range all {
			m, _ := c.(map[string]any)
			if m["type"] == kind {
				return m["status"] == "True", fmt.Sprintf("%s is %v: %v", kind, m["status"], m["message"])
			}
		}
		return false, "it has no condition " + kind
	}
}

func v1(group, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}
