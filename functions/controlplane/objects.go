package controlplane

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// decodeClaims finds the StatefulSet and the claims of a namespace among the inventory's objects.
func decodeClaims(objects []*unstructured.Unstructured, namespace, statefulSet string) (*appsv1.StatefulSet, map[string]*corev1.PersistentVolumeClaim, error) {
	var s *appsv1.StatefulSet
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for _, o := range objects {
		if ns := o.GetNamespace(); ns != "" && ns != namespace {
			continue // of the same name perhaps, and another object
		}
		var err error
		switch o.GroupVersionKind().GroupKind().String() {
		case "StatefulSet.apps":
			if o.GetName() == statefulSet {
				s, err = cluster.Decode[appsv1.StatefulSet](o)
			}
		case "PersistentVolumeClaim":
			claims[o.GetName()], err = cluster.Decode[corev1.PersistentVolumeClaim](o)
		}
		if err != nil {
			return nil, nil, fault.Newf(fault.InventoryBroken, "decode the inventory", "%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return s, claims, nil
}

// classesOf are the StorageClasses of the inventory; one that does not decode is none.
func classesOf(objects []*unstructured.Unstructured) []storagev1.StorageClass {
	var out []storagev1.StorageClass
	for _, o := range objects {
		if o.GroupVersionKind().GroupKind().String() == "StorageClass.storage.k8s.io" {
			if c, err := cluster.Decode[storagev1.StorageClass](o); err == nil {
				out = append(out, *c)
			}
		}
	}
	return out
}

// extra reports objects of the namespace that the inventory does not hold, of the kinds that it does hold. They are left alone: whatever
// they are, somebody made them after the capture.
func (w *work) extra(ctx context.Context, kept []*unstructured.Unstructured) error {
	known := map[string]bool{}
	var kinds []change.Ref
	for _, o := range kept {
		if o.GetNamespace() != w.s.Target() {
			continue
		}
		known[o.GetKind()+"/"+o.GetName()] = true
		if slices.ContainsFunc(kinds, func(r change.Ref) bool { return r.Kind == o.GetKind() }) {
			continue
		}
		gvk := o.GroupVersionKind()
		m, err := w.s.Cluster.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			continue // reported when it was compared
		}
		kinds = append(kinds, change.Ref{GVR: m.Resource, Kind: gvk.Kind, Namespace: o.GetNamespace()})
	}
	for _, k := range kinds {
		list, err := w.list(ctx, k.GVR, k.Namespace)
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			w.foundf("extra %s objects could not be listed: %v", k.Kind, err)
			continue
		}
		if err != nil {
			return cluster.Fault("list "+k.Kind+" objects", err)
		}
		var names []string
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if o := list[name]; !known[k.Kind+"/"+name] && !byController(o, w.ch.Run) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			w.extras += len(names)
			w.foundf("extra: %s %s", k.Kind, strings.Join(run.Few(names, 6, 60), ", "))
		}
	}
	return nil
}

// listPage is how many objects one list request asks for.
const listPage = 500

// list reads the objects of a resource in a namespace once, by name: one request for hundreds of objects instead of one for each.
func (w *work) list(ctx context.Context, gvr schema.GroupVersionResource, namespace string) (map[string]*unstructured.Unstructured, error) {
	if have, ok := w.live[gvr]; ok {
		return have, nil
	}
	out := map[string]*unstructured.Unstructured{}
	for o := (metav1.ListOptions{Limit: listPage}); ; {
		l, err := w.s.Cluster.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if err != nil {
			return nil, err
		}
		for i := range l.Items {
			out[l.Items[i].GetName()] = &l.Items[i]
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			break
		}
	}
	if w.live == nil {
		w.live = map[schema.GroupVersionResource]map[string]*unstructured.Unstructured{}
	}
	w.live[gvr] = out
	return out, nil
}

// get reads an object: from the list of its kind in the target namespace, where that may be listed. It is nil when it does not exist.
func (w *work) get(ctx context.Context, r change.Ref) (*unstructured.Unstructured, error) {
	if r.Namespace == w.s.Target() {
		list, err := w.list(ctx, r.GVR, r.Namespace)
		if err == nil {
			return list[r.Name], nil
		}
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	have, err := w.s.Cluster.Dynamic.Resource(r.GVR).Namespace(r.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return have, err
}

// byController tells what controllers or this run have made, which nobody misses in an inventory.
func byController(o *unstructured.Unstructured, runID string) bool {
	if metav1.GetControllerOf(o) != nil || o.GetLabels()[change.LabelRun] == runID {
		return true
	}
	id := fmt.Sprintf("%s/%s", o.GetKind(), o.GetName())
	return id == "ConfigMap/kube-root-ca.crt" || id == "ServiceAccount/default" || o.GetKind() == "PersistentVolumeClaim"
}
