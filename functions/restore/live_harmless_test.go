package restore_test

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/shared/velero"
)

//go:embed testdata/acting.yaml
var actingYAML []byte

// acting are objects of production that must not act in a drill.
func acting(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(actingYAML))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		u := &unstructured.Unstructured{}
		if err == nil {
			err = utilyaml.Unmarshal(doc, &u.Object)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
}

func (l *live) of(t *testing.T, gk schema.GroupKind, namespace string) dynamic.ResourceInterface {
	t.Helper()
	m, err := l.c.Mapper.RESTMapping(gk)
	if err != nil {
		t.Fatal(err)
	}
	return l.c.Dynamic.Resource(m.Resource).Namespace(namespace)
}

// deployActing makes them in production, and takes them away when the test ends.
func (l *live) deployActing(t *testing.T) {
	t.Helper()
	for _, o := range acting(t) {
		client := l.of(t, o.GroupVersionKind().GroupKind(), o.GetNamespace())
		if _, err := client.Create(t.Context(), o, metav1.CreateOptions{FieldManager: "production"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			// No cloud's controller is here that would take the finalizer off.
			_, err := client.Patch(ctx, o.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			err = errors.Join(err, client.Delete(ctx, o.GetName(), metav1.DeleteOptions{}))
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
}

// spec is what of an object counts here: what the API server adds by itself is the same in production.
func spec(o *unstructured.Unstructured, fields ...string) map[string]any {
	all, _, _ := unstructured.NestedMap(o.Object, "spec")
	out := map[string]any{}
	for _, f := range fields {
		if v, ok := all[f]; ok {
			out[f] = v
		}
	}
	return out
}

// doesNoHarm looks at what Velero restored of them.
func (d *drill) doesNoHarm() {
	d.Helper()
	ns, restore := d.run.Restore.Namespace, velero.RestoreName(d.run.ID)
	core := func(kind string) schema.GroupKind { return schema.GroupKind{Kind: kind} }
	get := func(gk schema.GroupKind, name string) *unstructured.Unstructured {
		d.Helper()
		o, err := d.l.of(d.T, gk, ns).Get(d.Context(), name, metav1.GetOptions{})
		if err != nil {
			d.Errorf("%s %s: %v", gk.Kind, name, err)
			return &unstructured.Unstructured{Object: map[string]any{}}
		}
		if got := o.GetLabels()[velero.LabelRestore]; got != restore {
			d.Errorf("%s %s was not restored by Velero: its label is %q", gk.Kind, name, got)
		}
		if len(o.GetFinalizers()) > 0 {
			d.Errorf("%s %s has the finalizers %q", gk.Kind, name, o.GetFinalizers())
		}
		return o
	}
	same := func(what string, want, got any) {
		d.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			d.Errorf("%s: %s", what, diff)
		}
	}

	outward := []string{"type", "externalIPs", "externalName", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "selector", "ports"}
	inside := func(port int64) map[string]any {
		return map[string]any{"type": "ClusterIP", "selector": map[string]any{"app": "acting"}, "ports": []any{map[string]any{"port": port, "targetPort": int64(8080), "protocol": "TCP"}}}
	}
	lb := get(core("Service"), "lb")
	same("Service lb", inside(80), spec(lb, outward...))
	same("Service lb's annotations", map[string]string{"note": "kept"}, lb.GetAnnotations())
	same("Service node-port", inside(81), spec(get(core("Service"), "node-port"), outward...))
	same("Service outside", map[string]any{"type": "ClusterIP"}, spec(get(core("Service"), "outside"), outward...))

	same("CronJob", map[string]any{"suspend": true}, spec(get(schema.GroupKind{Group: "batch", Kind: "CronJob"}, "acting"), "suspend"))

	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	o := get(deployment, "on-a-node-port")
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if len(containers) != 1 {
		d.Fatalf("Deployment on-a-node-port: %v", o.Object)
	}
	same("the port on the node", []any{map[string]any{"containerPort": int64(8080), "protocol": "TCP"}}, containers[0].(map[string]any)["ports"])
	notes, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
	same("its pods' annotations", 0, len(notes))
	same("its replicas", map[string]any{"replicas": int64(1)}, spec(o, "replicas"))
	o = get(deployment, "on-the-node")
	_, host, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "template", "spec", "hostNetwork")
	same("the Deployment on the node's network", []any{map[string]any{"replicas": int64(0)}, false}, []any{spec(o, "replicas"), host})

	account := get(core("ServiceAccount"), "acting")
	same("the account's role", 0, len(account.GetAnnotations()))
	same("the account's tokens", nil, account.Object["secrets"])
	for _, name := range []string{"token", "sh.helm.release.v1.shop.v1"} {
		s := get(core("Secret"), name)
		same("Secret "+name, []any{"Opaque", nil}, []any{s.Object["type"], s.Object["data"]})
		same("Secret "+name+"'s annotations", 0, len(s.GetAnnotations()))
		same("Secret "+name+"'s owner", "", s.GetLabels()["owner"])
	}
	same("Secret kept", map[string]any{"value": "a2VwdA=="}, get(core("Secret"), "kept").Object["data"])
	binding := schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}
	same("RoleBinding own", []any{map[string]any{"kind": "ServiceAccount", "name": "acting", "namespace": ns}}, get(binding, "own").Object["subjects"])
	same("RoleBinding of-others", nil, get(binding, "of-others").Object["subjects"])

	// Not restored at all; NetworkPolicies of the quarantine itself are there.
	for _, gk := range []schema.GroupKind{{Group: "networking.k8s.io", Kind: "Ingress"}, {Group: "networking.k8s.io", Kind: "NetworkPolicy"},
		{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, {Group: "policy", Kind: "PodDisruptionBudget"}} {
		all, err := d.l.of(d.T, gk, ns).List(d.Context(), metav1.ListOptions{})
		if err != nil {
			d.Fatal(err)
		}
		for _, o := range all.Items {
			if o.GetName() == "acting" || o.GetLabels()[velero.LabelRestore] != "" {
				d.Errorf("%s %s was restored", gk.Kind, o.GetName())
			}
		}
		if !slices.ContainsFunc(d.run.Restore.LeftOut, func(l string) bool { return strings.HasPrefix(l, gk.Kind+" acting: ") }) {
			d.Errorf("%s acting is not said to be left out: %q", gk.Kind, d.run.Restore.LeftOut)
		}
	}
	for _, kind := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"} {
		all, err := d.l.of(d.T, schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: kind}, "").List(d.Context(), metav1.ListOptions{LabelSelector: velero.LabelRestore})
		if err != nil || len(all.Items) > 0 {
			d.Errorf("%d %s were restored: %v", len(all.Items), kind, err)
		}
	}
}
