package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/shared/plan"
)

// TestIdentities: each step connects by the context of its function's group, those of the janitor by the janitor's; a context that is not
// there is said with its name.
func TestIdentities(t *testing.T) {
	var users, contexts strings.Builder
	for _, f := range append([]string{""}, kubernetes.Functions()...) {
		name := kubernetes.Group(f)
		users.WriteString("- {name: \"" + name + "\", user: {token: \"of " + f + "\"}}\n")
		contexts.WriteString("- {name: \"" + name + "\", context: {cluster: c, user: \"" + name + "\"}}\n")
	}
	text := "apiVersion: v1\nkind: Config\ncurrent-context: \"fallback-chain:\"\nclusters:\n- {name: c, cluster: {server: \"https://127.0.0.1:1\"}}\nusers:\n" +
		users.String() + "contexts:\n" + contexts.String()
	planOf := func(text string) *plan.Plan {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return &plan.Plan{Spec: plan.Spec{Cluster: plan.Cluster{Kubeconfig: &plan.Kubeconfig{Path: path}}}}
	}
	p := planOf(text)
	r := New(runstore.Store{Dir: t.TempDir()})
	token := func(of func(string) connect, function string) string {
		t.Helper()
		c, err := of(function)(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return c.Config.BearerToken
	}
	if got := token(r.own, "gate"); got != "of " {
		t.Errorf("without AsFunctions a step connects with token %q, expected the plan's user", got)
	}
	r.AsFunctions = true
	for _, f := range kubernetes.Functions() {
		if got := token(r.own, f); got != "of "+f {
			t.Errorf("%s connects with token %q", f, got)
		}
		if got := token(r.janitors, f); got != "of janitor" {
			t.Errorf("the janitor's %s connects with token %q", f, got)
		}
	}
	if err := r.identified(t.Context(), p); err != nil {
		t.Error(err)
	}
	lacking := planOf(strings.Replace(text, "- {name: \"fallback-chain:gate\", context", "- {name: other, context", 1))
	if err := r.identified(t.Context(), lacking); err == nil || !strings.Contains(err.Error(), `context "fallback-chain:gate" does not exist`) {
		t.Errorf("got %v, want the context that is not there", err)
	}
}
