package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// TestKustomize builds the directory as kubectl kustomize does (https://pkg.go.dev/sigs.k8s.io/kustomize/api/krusty), and gets what the local
// stack applies: the API server there is the one that judges the objects.
func TestKustomize(t *testing.T) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), ".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := split(text)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Documents()
	if err != nil {
		t.Fatal(err)
	}
	have, want := canonical(t, ours), canonical(t, theirs)
	if len(have) != len(want) || len(have) < 3*len(Functions()) {
		t.Errorf("kustomize builds %d objects, Documents has %d", len(want), len(have))
	}
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			t.Fatalf("kustomize builds\n%s\nDocuments has\n%s", want[i], have[i])
		}
	}
}

// canonical are documents in one order and one form.
func canonical(t *testing.T, docs [][]byte) []string {
	t.Helper()
	var out []string
	for _, d := range docs {
		j, err := yaml.YAMLToJSON(d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(j))
	}
	slices.Sort(out)
	return out
}

// TestObjects: every object is of a kind that is meant to be here, without a field that the kind does not have, and every one that
// has a namespace is in the one that comes first.
func TestObjects(t *testing.T) {
	all, err := Documents()
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range all {
		var m struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal(d, &m); err != nil {
			t.Fatal(err)
		}
		var into any
		namespace := ""
		switch m.Kind {
		case "Namespace":
			into = &corev1.Namespace{}
		case "ClusterRole":
			into = &rbacv1.ClusterRole{}
		case "ClusterRoleBinding":
			into = &rbacv1.ClusterRoleBinding{}
		case "Role":
			into, namespace = &rbacv1.Role{}, "fallback-chain"
		case "RoleBinding":
			into, namespace = &rbacv1.RoleBinding{}, "fallback-chain"
		case "ValidatingAdmissionPolicy":
			into = &admissionv1.ValidatingAdmissionPolicy{}
		case "ValidatingAdmissionPolicyBinding":
			into = &admissionv1.ValidatingAdmissionPolicyBinding{}
		default:
			t.Errorf("%s %s is not expected here", m.Kind, m.Metadata.Name)
			continue
		}
		if err := yaml.UnmarshalStrict(d, into); err != nil {
			t.Errorf("%s %s: %v", m.Kind, m.Metadata.Name, err)
		}
		if m.Metadata.Namespace != namespace {
			t.Errorf("%s %s is in namespace %q, expected %q", m.Kind, m.Metadata.Name, m.Metadata.Namespace, namespace)
		}
		if (i == 0) != (m.Kind == "Namespace") {
			t.Errorf("object %d is %s %s: expected the namespace first, and once", i, m.Kind, m.Metadata.Name)
		}
	}
}

// TestPolicyHasAParameterThatCannotGoMissing: the API server refuses the writes of everybody when a policy's parameter is missing, and lets
// nobody delete these namespaces
// (https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go).
func TestPolicyHasAParameterThatCannotGoMissing(t *testing.T) {
	all, err := Documents()
	if err != nil {
		t.Fatal(err)
	}
	policies, bindings := 0, 0
	for _, d := range all {
		var m metav1.TypeMeta
		if err := yaml.Unmarshal(d, &m); err != nil {
			t.Fatal(err)
		}
		switch m.Kind {
		case "ValidatingAdmissionPolicy":
			policies++
			var p admissionv1.ValidatingAdmissionPolicy
			if err := yaml.Unmarshal(d, &p); err != nil {
				t.Fatal(err)
			}
			if k := p.Spec.ParamKind; k == nil || *k != (admissionv1.ParamKind{APIVersion: "v1", Kind: "Namespace"}) {
				t.Errorf("the parameter of %s is a %v, expected a Namespace", p.Name, k)
			}
		case "ValidatingAdmissionPolicyBinding":
			bindings++
			var b admissionv1.ValidatingAdmissionPolicyBinding
			if err := yaml.Unmarshal(d, &b); err != nil {
				t.Fatal(err)
			}
			if r := b.Spec.ParamRef; r == nil || r.Name != Places || !slices.Contains([]string{"default", "kube-system", "kube-public"}, r.Name) {
				t.Errorf("the parameter of %s is %+v, expected %s", b.Name, r, Places)
			}
		}
	}
	if policies != 1 || bindings != 1 {
		t.Errorf("%d policies and %d bindings, expected one of each", policies, bindings)
	}
}

// noCluster are the functions that reach none.
var noCluster = []string{"admit", "intake", "report", "seal"}

// TestFunctions: every function that there is has a group, an access entry and a role of its own, or reaches no cluster.
func TestFunctions(t *testing.T) {
	mains, err := filepath.Glob("../../functions/*/lambda/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, m := range mains {
		have = append(have, filepath.Base(filepath.Dir(filepath.Dir(m))))
	}
	want := slices.Concat(Functions(), noCluster)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("functions %v, expected %v", have, want)
	}
	type entry struct {
		Type       string
		Properties struct {
			ClusterName, PrincipalArn, Type string
			KubernetesGroups                []string
		}
	}
	var stack struct {
		Parameters map[string]any
		Resources  map[string]entry
	}
	data := read(t, "eks/access-entries.yaml")
	if err := yaml.Unmarshal([]byte(data), &stack); err != nil {
		t.Fatal(err)
	}
	script := read(t, "eks/access-entries.sh")
	if loop := "for function in " + strings.Join(Functions(), " ") + ";"; !strings.Contains(script, loop) {
		t.Errorf("access-entries.sh has not %q", loop)
	}
	kustomization, template := read(t, "kustomization.yaml"), read(t, "../../template.yaml")
	for _, f := range Functions() {
		id := strings.ToUpper(f[:1]) + f[1:]
		e := stack.Resources[id]
		if e.Type != "AWS::EKS::AccessEntry" || e.Properties.PrincipalArn != id+"RoleArn" || stack.Parameters[id+"RoleArn"] == nil ||
			!slices.Equal(e.Properties.KubernetesGroups, []string{Group(f)}) || e.Properties.Type != "STANDARD" || e.Properties.ClusterName != "ClusterName" {
			t.Errorf("access entry of %s: %+v", f, e)
		}
		if role := "\n  " + id + "FunctionRole:\n    Type: AWS::IAM::Role\n"; !strings.Contains(template, role) {
			t.Errorf("access-entries.sh asks for %sFunctionRole, which template.yaml does not have", id)
		}
		if !strings.Contains(kustomization, fmt.Sprintf("- %s-rbac.yaml\n", f)) {
			t.Errorf("kustomization.yaml does not list %s-rbac.yaml", f)
		}
	}
	if n, m := len(stack.Resources), len(stack.Parameters); n != len(Functions()) || m != n+1 {
		t.Errorf("%d access entries and %d parameters for %d functions", n, m, len(Functions()))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFunctionOf(t *testing.T) {
	for name, tc := range map[string]struct {
		groups []string
		want   string
	}{
		"a function":    {[]string{"system:authenticated", "fallback-chain:gate"}, "gate"},
		"somebody else": {[]string{"system:masters", "fallback-chain"}, ""},
		"nobody":        {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := FunctionOf(tc.groups); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
