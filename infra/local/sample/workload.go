package sample

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"fallbackchain.io/fallback/shared/cluster"
)

// again is how often a wait looks even when nothing changed.
const again = 2 * time.Second

// workload is a part of the sample: database servers of a StatefulSet in a namespace of their own, with a Velero Schedule.
type workload struct {
	// name is the value of AppLabel on all of it, and the name of its Schedule.
	name, namespace, statefulSet string
	// replicas is the number of servers.
	replicas int32
	// manifests and schedule are YAML.
	manifests, schedule []byte
	// seed fills the servers that are not filled, and returns the checksum that the plan expects of each.
	seed func(context.Context, *cluster.Client) (string, error)
	// beat writes a time into each server of a namespace.
	beat func(context.Context, *cluster.Client, string, time.Time) error
}

// deploy puts the workload on the cluster, fills its servers and writes a heartbeat. What is there already is left as it is, so a
// second call completes a first one that failed.
func (w workload) deploy(ctx context.Context, o Options) (c *cluster.Client, checksum string, err error) {
	if c, err = cluster.FromKubeconfig(o.Kubeconfig, ""); err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, "", fmt.Errorf("sample directory: %w", err)
	}
	o.say("apply the manifests of the " + w.name)
	schedule, err := w.scheduleOf(ctx, c)
	if err == nil {
		err = errors.Join(applyAll(ctx, c, w.manifests), apply(ctx, c, schedule))
	}
	if err != nil {
		return nil, "", err
	}
	o.say("wait until its servers are ready")
	if err := w.awaitReady(ctx, c, w.namespace); err != nil {
		return nil, "", err
	}
	o.say("seed each server")
	if checksum, err = w.seed(ctx, c); err != nil {
		return nil, "", err
	}
	return c, checksum, w.beat(ctx, c, w.namespace, time.Now())
}

// scheduleOf is the workload's Schedule on a cluster, whose identity its backups carry.
func (w workload) scheduleOf(ctx context.Context, c *cluster.Client) (*unstructured.Unstructured, error) {
	system, err := cluster.Get[corev1.Namespace](ctx, c, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's identity (namespace %s): %w", metav1.NamespaceSystem, err)
	}
	s := &unstructured.Unstructured{}
	return s, utilyaml.Unmarshal(bytes.ReplaceAll(w.schedule, []byte("{{cluster}}"), []byte(system.UID)), &s.Object)
}

// awaitReady waits until every replica of the StatefulSet in a namespace is ready.
func (w workload) awaitReady(ctx context.Context, c *cluster.Client, namespace string) error {
	lacks := "it does not exist"
	ok, err := c.WaitFor(ctx, again, []cluster.Source{
		{GVR: cluster.StatefulSets, Namespace: namespace}, {GVR: cluster.Pods, Namespace: namespace},
	}, func(ctx context.Context) (bool, error) {
		s, err := cluster.Get[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, namespace, w.statefulSet)
		if err != nil {
			return false, err
		}
		lacks = fmt.Sprintf("%d of %d replicas are ready", s.Status.ReadyReplicas, w.replicas)
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == w.replicas && s.Status.Replicas == w.replicas, nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", lacks, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("StatefulSet %s/%s: %w", namespace, w.statefulSet, err)
	}
	return nil
}

// pods are the workload's pods in a namespace, by name.
func (w workload) pods(ctx context.Context, c *cluster.Client, namespace string) ([]corev1.Pod, error) {
	return cluster.List[corev1.Pod](ctx, c, cluster.Pods, namespace, metav1.ListOptions{LabelSelector: AppLabel + "=" + w.name})
}

// reachable are the pods of which each is to be asked, at least one, and the credentials in a Secret.
func (w workload) reachable(ctx context.Context, c *cluster.Client, namespace, secret string) ([]corev1.Pod, credentials, error) {
	cr, err := readCredentials(ctx, c, namespace, secret)
	if err != nil {
		return nil, cr, err
	}
	pods, err := w.pods(ctx, c, namespace)
	if err == nil && len(pods) == 0 {
		err = fmt.Errorf("namespace %s has no pod with the label %s=%s", namespace, AppLabel, w.name)
	}
	return pods, cr, err
}

// writePlan fills in a plan: its inventory, what every plan of the sample has, and pairs of a place and what it takes.
func writePlan(path string, o Options, text, inventory string, pairs ...string) error {
	kubeconfig, err := filepath.Abs(o.Kubeconfig)
	if err != nil {
		return err
	}
	canary := sha256.Sum256([]byte(Canary))
	pairs = append(pairs, "{{canary}}", hex.EncodeToString(canary[:]), "{{kubeconfig}}", kubeconfig)
	return replaceFile(path, []byte(strings.NewReplacer(pairs...).Replace(strings.Replace(text, "{{inventory}}", inventory, 1))))
}

// veleroInventory is a plan's inventory: the Velero backups of the stack.
func veleroInventory(o Options) (string, error) {
	b, err := o.layout().Backups()
	if err != nil {
		return "", err
	}
	for _, f := range []*string{&b.CredentialsFile, &b.SigningKey} {
		if *f, err = filepath.Abs(*f); err != nil {
			return "", err
		}
	}
	return strings.NewReplacer("{{location}}", b.Location(), "{{region}}", b.Region,
		"{{endpoint}}", b.Endpoint, "{{credentials}}", b.CredentialsFile, "{{key}}", b.SigningKey).Replace(veleroYAML), nil
}

// replaceFile writes a file as a whole: a reader sees the old content or the new.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
