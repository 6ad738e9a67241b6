package scenarios

import (
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/shared/run"
)

var (
	clusterRoles        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// user makes a user of the cluster that may do exactly what allowed lists (in every namespace: that of a drill is not there before),
// and returns the edit that makes a plan reach the cluster as this user.
func (w *world) user(t *testing.T, name string, allowed []runner.Access) func(plan string) string {
	t.Helper()
	kubeconfig, err := w.Stack.KubeconfigFor(name)
	if err != nil {
		t.Fatal(err)
	}
	rules := []any{}
	for _, a := range allowed {
		rule := map[string]any{"verbs": []any{a.Verb}}
		if a.Path != "" {
			rule["nonResourceURLs"] = []any{a.Path}
		} else {
			resource := a.Resource
			if a.Subresource != "" {
				resource += "/" + a.Subresource
			}
			rule["apiGroups"], rule["resources"] = []any{a.Group}, []any{resource}
			if a.Name != "" {
				rule["resourceNames"] = []any{a.Name}
			}
		}
		rules = append(rules, rule)
	}
	w.grant(t, clusterRoles, map[string]any{"kind": "ClusterRole", "metadata": map[string]any{"name": "test-" + name}, "rules": rules})
	w.grant(t, clusterRoleBindings, map[string]any{"kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "test-" + name},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-" + name},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}}})
	return func(plan string) string { return strings.Replace(plan, w.Stack.Kubeconfig(), kubeconfig, 1) }
}

func (w *world) grant(t *testing.T, gvr schema.GroupVersionResource, o map[string]any) {
	t.Helper()
	o["apiVersion"] = "rbac.authorization.k8s.io/v1"
	u := &unstructured.Unstructured{Object: o}
	ri := w.Client.Dynamic.Resource(gvr)
	if err := ri.Delete(t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := ri.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// needs is what runs of the sample's plan may come to need, in all the modes.
func (w *world) needs(t *testing.T, modes ...run.Mode) []runner.Access {
	t.Helper()
	var out []runner.Access
	for _, m := range modes {
		list, err := runner.New(w.Store).Needs(t.Context(), runner.Request{Mode: m, PlanPath: w.Sample.Plan})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			out = append(out, anyDrill(a))
		}
	}
	return out
}

// anyDrill takes the run out of what names a drill's own namespace.
func anyDrill(a runner.Access) runner.Access {
	const prefix = "drill-shop-drill-"
	if strings.HasPrefix(a.Namespace, prefix) {
		a.Namespace = prefix
	}
	if strings.HasPrefix(a.Name, prefix) {
		a.Name = ""
	}
	return a
}

// onlyNeeded fails the test when a user asked the API server for something that is not in the list, or was refused something.
func (w *world) onlyNeeded(t *testing.T, user string, f audit.Filter, list []runner.Access) {
	t.Helper()
	es, err := audit.Read(w.Stack.AuditLog(), f)
	if err != nil {
		t.Fatal(err)
	}
	n, said := 0, map[runner.Access]bool{}
	for _, e := range es {
		a, ok := asked(e)
		if e.User.Username != user || !ok {
			continue
		}
		n++
		if e.Response.Code == 403 || e.Response.Code == 401 {
			t.Errorf("%s was refused: %s", user, a)
		}
		if !covered(list, a) && !said[a] {
			said[a] = true
			t.Errorf("preflight does not ask for: %s", a)
		}
	}
	if n < 10 {
		t.Errorf("the audit log has only %d requests of user %s: it proves nothing", n, user)
	}
}

// asked is what a request needed; ok is false for what every user may do (discovery, reviews).
func asked(e audit.Event) (a runner.Access, ok bool) {
	o := e.Object
	if o.Resource == "" {
		path, _, _ := strings.Cut(e.URI, "?")
		return runner.Access{Verb: e.Verb, Path: path}, !strings.HasPrefix(path, "/api")
	}
	a = runner.Access{Verb: e.Verb, Group: o.APIGroup, Resource: o.Resource, Subresource: o.Subresource, Namespace: o.Namespace, Name: o.Name}
	if o.Resource == "namespaces" {
		a.Namespace = "" // the log names the namespace itself
	}
	return anyDrill(a), o.APIGroup != "authorization.k8s.io" && o.APIGroup != "authentication.k8s.io"
}

func covered(list []runner.Access, a runner.Access) bool {
	for _, l := range list {
		name := l.Name
		l.Name = a.Name
		if l == a && (name == "" || name == a.Name) {
			return true
		}
	}
	return false
}

// assessRole is what infra/kubernetes/assess-rbac.yaml grants, as the user's own.
func assessRole(t *testing.T) []runner.Access {
	t.Helper()
	b, err := os.ReadFile("../../../infra/kubernetes/assess-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role, _, _ := strings.Cut(string(b), "\n---")
	var r struct {
		Rules []struct{ APIGroups, Resources, ResourceNames, NonResourceURLs, Verbs []string }
	}
	if err := yaml.Unmarshal([]byte(role), &r); err != nil {
		t.Fatal(err)
	}
	var out []runner.Access
	for _, rule := range r.Rules {
		for _, v := range rule.Verbs {
			for _, u := range rule.NonResourceURLs {
				out = append(out, runner.Access{Verb: v, Path: u})
			}
			for _, g := range rule.APIGroups {
				for _, res := range rule.Resources {
					a := runner.Access{Verb: v, Group: g, Resource: res}
					if len(rule.ResourceNames) > 0 {
						a.Name = rule.ResourceNames[0]
					}
					out = append(out, a)
				}
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("the role grants nothing")
	}
	return out
}
