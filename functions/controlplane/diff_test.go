package controlplane

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	return u
}

const set = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: shop}, spec: {replicas: 3, template: {spec: {containers: [{name: pg, image: "pg:1"}]}}}}`

func TestPatch(t *testing.T) {
	for _, tc := range []struct{ name, have, want, patch string }{
		{"the same", set, set, `{}`},
		{"what the server sets does not count",
			`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: shop, uid: u, resourceVersion: "7", labels: {a: b}}, spec: {replicas: 3, template: {spec: {containers: [{name: pg, image: "pg:1"}]}}}, status: {replicas: 3}}`, set, `{}`},
		{"another value", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg}, spec: {replicas: 0, template: {spec: {containers: [{name: pg, image: "pg:1"}]}}}}`, set, `{"spec":{"replicas":3}}`},
		{"what others added goes", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg}, spec: {replicas: 3, template: {spec: {nodeSelector: {disk: x}, containers: [{name: pg, image: "pg:1"}]}}}}`, set,
			`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`},
		{"lists are replaced as a whole", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg}, spec: {replicas: 3, template: {spec: {containers: [{name: pg, image: "pg:2"}, {name: x}]}}}}`, set,
			`{"spec":{"template":{"spec":{"containers":[{"image":"pg:1","name":"pg"}]}}}}`},
		{"data", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1", b: "2"}}`, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1", c: "3"}}`, `{"data":{"b":null,"c":"3"}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := json.Marshal(Patch(object(t, tc.have), object(t, tc.want)))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.patch {
				t.Errorf("%s, expected %s", got, tc.patch)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	would := object(t, `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, resourceVersion: "9", generation: 4}, spec: {replicas: 2, template: {spec: {hostNetwork: true, containers: [{name: pg, image: "pg:2"}]}}}, status: {x: 1}}`)
	have := object(t, set)
	have.SetNamespace("")
	want := []string{"spec.replicas", "spec.template.spec.containers[0].image", "spec.template.spec.hostNetwork"}
	if got := Changed(have, would); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestStops(t *testing.T) {
	w := plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	controller := &plan.DeploymentRef{Namespace: "kube-system", Name: "csi"}
	for _, tc := range []struct {
		name, object string
		fields       []string
		want         []string
	}{
		{"the pods' placement", set, []string{"spec.template.spec.nodeSelector", "spec.updateStrategy.type"}, []string{"spec.template.spec.nodeSelector"}},
		{"scaled", set, []string{"spec.replicas"}, []string{"spec.replicas"}},
		{"a restart annotation", set, []string{"spec.template.metadata.annotations.x"}, nil},
		{"another StatefulSet", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: cache, namespace: shop}}`, []string{"spec.replicas"}, nil},
		{"the driver's controller", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: csi, namespace: kube-system}}`, []string{"spec.replicas"}, []string{"spec.replicas"}},
		{"another Deployment", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}}`, []string{"spec.replicas"}, nil},
		{"a class", `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}}`, []string{immutable + " (x)"}, []string{immutable + " (x)"}},
		{"a ConfigMap is only noted", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`, []string{"data.a"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := stops(object(t, tc.object), tc.fields, w, controller); len(got) != len(tc.want) || (len(got) > 0 && !cmp.Equal(got, tc.want)) {
				t.Errorf("%q, expected %q", got, tc.want)
			}
		})
	}
}

func TestScoped(t *testing.T) {
	objects := []*unstructured.Unstructured{
		object(t, `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: x.example.com}}`),
		object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`),
		object(t, `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}}`),
		object(t, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-pg-0, namespace: shop}}`),
		object(t, `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop, namespace: shop}}`),
		object(t, set),
	}
	s := &step.Session{Plan: &plan.Plan{Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}}
	names := func(mode run.Mode) (out []string, left int) {
		s.Run = run.Run{ID: "shop-drill-1", Mode: mode}
		kept, l := scoped(s, objects)
		for _, o := range kept {
			out = append(out, o.GetKind()+" "+o.GetNamespace())
		}
		return out, len(l)
	}
	if got, left := names(run.Recover); left != 1 || !cmp.Equal(got, []string{"Namespace ", "StorageClass ", "PersistentVolumeClaim shop", "Ingress shop", "StatefulSet shop"}) {
		t.Errorf("recover keeps %q and leaves %d", got, left)
	}
	if got, _ := names(run.Drill); !cmp.Equal(got, []string{"PersistentVolumeClaim drill-shop-drill-1", "StatefulSet drill-shop-drill-1"}) {
		t.Errorf("a drill keeps %q", got)
	}
	if objects[3].GetNamespace() != "shop" {
		t.Error("the inventory's own object was changed")
	}
}
