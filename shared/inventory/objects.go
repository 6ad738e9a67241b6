package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Objects returns the bundle's objects in the order of dependency: what others need comes first. Only objects whose file
// has the digest that bundle.json names are returned; every other file is a finding. Those of a bundle in memory are deep copies.
func (b *Bundle) Objects(ctx context.Context) ([]*unstructured.Unstructured, []Finding) {
	if b.inMemory {
		return b.copies(), nil
	}
	var out []*unstructured.Unstructured
	var findings []Finding
	for _, f := range b.Files {
		if err := ctx.Err(); err != nil {
			findings = append(findings, Finding{f.Path, "was not read: " + err.Error()})
			continue
		}
		data, err := b.read(f)
		if err != nil {
			findings = append(findings, Finding{f.Path, plain(err)})
			continue
		}
		o, err := decode(data)
		if err != nil {
			findings = append(findings, Finding{f.Path, err.Error()})
			continue
		}
		out = append(out, o)
	}
	Sort(out)
	return out, findings
}

// decode reads exactly one Kubernetes object.
func decode(data []byte) (*unstructured.Unstructured, error) {
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	var doc, more yamlv3.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more than one document, expected one object")
	}
	j, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(j); err != nil {
		return nil, fmt.Errorf("is not a Kubernetes object: %w", err)
	}
	if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" || o.IsList() {
		return nil, errors.New("is not one Kubernetes object with apiVersion, kind and metadata.name")
	}
	if _, err := schema.ParseGroupVersion(o.GetAPIVersion()); err != nil {
		return nil, fmt.Errorf("has apiVersion %q, expected group/version", o.GetAPIVersion())
	}
	return o, nil
}

// identity is "Kind.group namespace/name": one object, whatever its version.
func identity(o *unstructured.Unstructured) string {
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return o.GroupVersionKind().GroupKind().String() + " " + name
}

// ranks is the order of dependency. A kind that is not here (a custom resource) has rankOther.
var ranks = map[schema.GroupKind]int{
	{Kind: "Namespace"}: 0,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: 1,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:               2,
	{Group: "storage.k8s.io", Kind: "CSIDriver"}:                      2,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                   2,
	{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshotClass"}:   2,
	{Kind: "LimitRange"}:     3,
	{Kind: "ResourceQuota"}:  3,
	{Kind: "ServiceAccount"}: 4,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        5,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               5,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: 6,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        6,
	{Kind: "Secret"}:                                        7,
	{Kind: "ConfigMap"}:                                     8,
	{Kind: "PersistentVolumeClaim"}:                         9,
	{Kind: "Service"}:                                       10,
	{Group: "apps", Kind: "StatefulSet"}:                    12,
	{Group: "apps", Kind: "Deployment"}:                     12,
	{Group: "apps", Kind: "DaemonSet"}:                      12,
	{Group: "apps", Kind: "ReplicaSet"}:                     12,
	{Kind: "ReplicationController"}:                         12,
	{Group: "batch", Kind: "Job"}:                           13,
	{Group: "batch", Kind: "CronJob"}:                       13,
	{Group: "policy", Kind: "PodDisruptionBudget"}:          14,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: 15,
	{Group: "networking.k8s.io", Kind: "Ingress"}:           16,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:     17,
}

const rankOther = 11

func rank(gk schema.GroupKind) int {
	if r, ok := ranks[gk]; ok {
		return r
	}
	return rankOther
}

// Sort orders objects by dependency, then by kind, namespace and name.
func Sort(objects []*unstructured.Unstructured) {
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		if d := rank(a.GroupVersionKind().GroupKind()) - rank(b.GroupVersionKind().GroupKind()); d != 0 {
			return d
		}
		return strings.Compare(identity(a), identity(b))
	})
}
