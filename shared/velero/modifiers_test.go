package velero_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/velero"
)

type rules struct {
	Version string `json:"version"`
	Rules   []struct {
		Conditions struct {
			Namespaces        []string `json:"namespaces"`
			GroupResource     string   `json:"groupResource"`
			ResourceNameRegex string   `json:"resourceNameRegex"`
		} `json:"conditions"`
		MergePatches []struct {
			PatchData string `json:"patchData"`
		} `json:"mergePatches"`
	} `json:"resourceModifierRules"`
}

func read(t *testing.T, cm *unstructured.Unstructured) rules {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(cm.Object, "data")
	if err != nil || len(data) != 1 {
		t.Fatalf("Velero takes a ConfigMap of exactly one key: %v, %v", data, err)
	}
	var r rules
	for _, v := range data {
		if err := json.Unmarshal([]byte(v), &r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestModifiersAreGrouped(t *testing.T) {
	m := velero.Modifiers{Namespace: "shop"}
	if err := m.All("secrets", "kube-root.crt", map[string]any{"metadata": map[string]any{"labels": map[string]any{"run": "x"}}}); err != nil {
		t.Fatal(err)
	}
	drop := func(k string) map[string]any {
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{k: nil}}}
	}
	inner := func(more map[string]any) map[string]any {
		more["spec"] = map[string]any{"type": "ClusterIP"}
		return more
	}
	for name, patch := range map[string]map[string]any{"web": inner(drop("dns")), "a.b": inner(map[string]any{}), "db": drop("aws"), "quiet": {}} {
		if err := m.Object("services", name, patch); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"data-1", "data-0"} {
		if err := m.Object("persistentvolumeclaims", name, map[string]any{"spec": map[string]any{"volumeName": nil}}); err != nil {
			t.Fatal(err)
		}
	}
	cm, err := m.ConfigMap("velero", "drill-x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range read(t, cm).Rules {
		got = append(got, fmt.Sprintf("%v %s %s %s", r.Conditions.Namespaces, r.Conditions.GroupResource, r.Conditions.ResourceNameRegex, r.MergePatches[0].PatchData))
	}
	but := read(t, cm).Rules[0].Conditions.ResourceNameRegex
	for name, want := range map[string]bool{"kube-root.crt": false, "kube-rootxcrt": true, "kube-root.crt-2": true, "kube": true, "kube-root.cr": true, "x": true, "my-kube-root.crt": true} {
		if regexp.MustCompile(but).MatchString(name) != want {
			t.Errorf("%s is matched: %v", name, !want)
		}
	}
	if d := cmp.Diff([]string{
		`[shop] secrets ` + but + ` {"metadata":{"labels":{"run":"x"}}}`,
		`[shop] persistentvolumeclaims  {"spec":{"volumeName":null}}`,
		`[shop] services  {"metadata":{"annotations":{"aws":null,"dns":null}}}`,
		`[shop] services ^(?:a\.b|web)$ {"spec":{"type":"ClusterIP"}}`,
	}, got); d != "" {
		t.Error(d)
	}
	if re := regexp.MustCompile(`^(?:a\.b|web)$`); re.MatchString("axb") || re.MatchString("web-1") {
		t.Error("the names match others")
	}
	if cm.GetName() != "drill-x" || cm.GetNamespace() != "velero" {
		t.Errorf("%v", cm)
	}
}

// Thousands of objects that lose the same annotations need one rule; thousands that each need their own do not fit, and that is said.
func TestModifiersLimit(t *testing.T) {
	few, many := velero.Modifiers{Namespace: "shop"}, velero.Modifiers{Namespace: "shop"}
	for i := range 5000 {
		name := fmt.Sprintf("config-%d", i)
		if err := few.Object("configmaps", name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": nil}}}); err != nil {
			t.Fatal(err)
		}
		if err := many.Object("services", name, map[string]any{"spec": map[string]any{"note": strings.Repeat("x", 200) + name}}); err != nil {
			t.Fatal(err)
		}
	}
	cm, err := few.ConfigMap("velero", "x")
	if err != nil || len(read(t, cm).Rules) != 1 {
		t.Errorf("%v", err)
	}
	if _, err := many.ConfigMap("velero", "x"); err == nil || !strings.Contains(err.Error(), "5000 rules") {
		t.Errorf("%v, expected that they are too large", err)
	}
}
