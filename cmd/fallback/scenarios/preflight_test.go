package scenarios

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/run"
)

// TestOperator runs every mode through the CLI as a user who may do what preflight asks for and nothing else: no request is refused,
// and none was not asked for. The results are read from --output json.
func TestOperator(t *testing.T) {
	w := theWorld
	modes := []run.Mode{run.Evaluate, run.Recover, run.Drill}
	plan := planFile(t, w, w.user(t, "operator", w.needs(t, modes...)))
	state := t.TempDir()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			if mode == run.Recover {
				w.Break(t, "attach-error")
			}
			from := time.Now()
			code, out, stderr := w.cliAsUser(t, state, string(mode), "-f", plan, "--output", "json")
			var res runner.Result
			if err := json.Unmarshal([]byte(out), &res); err != nil {
				t.Fatalf("the output is no JSON: %v", err)
			}
			want := run.Recovered
			if mode == run.Evaluate {
				want = run.Evaluated
			}
			if code != 0 || stderr != "" || res.End.Outcome != want || res.Run.Mode != mode || len(res.Path) == 0 || res.Took <= 0 {
				t.Errorf("exit code %d, outcome %s, mode %s, %d states, took %s, stderr %q", code, res.End.Outcome, res.Run.Mode, len(res.Path), res.Took, stderr)
			}
			w.onlyNeeded(t, "operator", audit.Filter{From: from}, w.needs(t, mode))
			if got := w.holder(t); got != "" {
				t.Errorf("%s holds the lease", got)
			}
		})
	}
	if got := w.Counts(t, sample.Namespace); !maps.Equal(got, whole()) {
		t.Errorf("rows %v", got)
	}
}

// TestOperatorRebuilds is the same for the paths that make most objects.
func TestOperatorRebuilds(t *testing.T) {
	w := theWorld
	for _, name := range []string{"csi-driver-gone", "everything-gone"} {
		t.Run(name, func(t *testing.T) {
			defer w.Reset(t)
			list := w.needs(t, run.Recover)
			plan := planFile(t, w, w.user(t, "operator", list))
			w.Break(t, name)
			from := time.Now()
			if code, _, _ := w.cliAsUser(t, t.TempDir(), "recover", "-f", plan); code != 0 {
				t.Errorf("exit code %d", code)
			}
			w.onlyNeeded(t, "operator", audit.Filter{From: from}, list)
		})
	}
}

// TestMissingPermissionsAreSaidAtOnce: all of them in one message, before anything is kept or changed.
func TestMissingPermissionsAreSaidAtOnce(t *testing.T) {
	w := theWorld
	forward := runner.Access{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: sample.Namespace}
	all := w.needs(t, run.Recover)
	without := slices.DeleteFunc(slices.Clone(all), func(a runner.Access) bool { return a == forward })
	if len(without) != len(all)-1 {
		t.Fatalf("a recover does not need %s", forward)
	}
	readsOnly := assessRole(t)
	for _, tc := range []struct {
		name, user string
		allowed    []runner.Access
		mode       string
		code       int
		says       []string
	}{
		{"a reader may evaluate", "reader", readsOnly, "evaluate", 0, nil},
		{"a reader may not recover", "reader", readsOnly, "recover", 2, []string{"user reader may not: ", "create pods/portforward in namespace shop",
			"delete volumeattachments.storage.k8s.io", "update leases.coordination.k8s.io shop.pg in namespace fallback-chain",
			"patch persistentvolumes,", "create statefulsets.apps in namespace shop"}},
		{"a reader may not drill", "reader", readsOnly, "drill", 2, []string{"user reader may not: ", "create namespaces", "create networkpolicies.networking.k8s.io in namespace drill-shop-drill-"}},
		{"one is missing", "almost", without, "recover", 2, []string{"user almost may not: create pods/portforward in namespace shop; a run in mode recover needs it"}},
		{"a user without any role", "nobody", nil, "evaluate", 2, []string{"user nobody may not: ", "list persistentvolumes", "get statefulsets.apps pg in namespace shop"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan, state, from := planFile(t, w, w.user(t, tc.user, tc.allowed)), filepath.Join(t.TempDir(), "runs"), time.Now()
			code, _, stderr := w.cliAsUser(t, state, tc.mode, "-f", plan)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, s := range tc.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("%q is not said", s)
				}
			}
			w.nothingChanged(t, from, tc.user)
			if code == 0 {
				return
			}
			if strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
				t.Errorf("more than one message: %s", stderr)
			}
			if _, err := os.Stat(state); !os.IsNotExist(err) {
				t.Errorf("something was kept in %s", state)
			}
		})
	}
}

// nothingChanged reads the audit log: a user, or with "" every fallback process, only asked.
func (w *world) nothingChanged(t *testing.T, from time.Time, user string) {
	t.Helper()
	es, err := audit.Read(w.Stack.AuditLog(), audit.Filter{UserAgent: "fallback-chain", From: from})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if (user == "" || e.User.Username == user) && e.Changes() {
			t.Errorf("%s sent %s %s %s/%s", e.User.Username, e.Verb, e.Object.Resource, e.Object.Namespace, e.Object.Name)
		}
	}
}

// TestCannotRun is exit code 2 through the CLI: one clear message for each mistake, nothing kept, nothing changed.
func TestCannotRun(t *testing.T) {
	w := theWorld
	kubeconfig := func(edit func(map[string]any)) string {
		t.Helper()
		var k map[string]any
		if err := json.Unmarshal([]byte(testbed.Read(t, w.Stack.Kubeconfig())), &k); err != nil {
			t.Fatal(err)
		}
		edit(k)
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return planFile(t, w, func(s string) string { return strings.Replace(s, w.Stack.Kubeconfig(), path, 1) })
	}
	server := func(k map[string]any) map[string]any {
		return k["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)
	}
	as := func(user map[string]any) func(map[string]any) {
		return func(k map[string]any) { k["users"].([]any)[0].(map[string]any)["user"] = user }
	}
	replace := func(old, with string) string {
		return planFile(t, w, func(s string) string { return strings.Replace(s, old, with, 1) })
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		says string
		full bool
	}{
		{"no plan", []string{"recover"}, `required flag(s) "file" not set`, false},
		{"a plan that is not there", []string{"recover", "-f", "nowhere.yaml"}, "nowhere.yaml: no such file or directory", false},
		{"a mistake in the plan", []string{"drill", "-f", replace("engine: postgresql", "engine: oracle")}, `spec.workload.database.engine: is not known: got "oracle", expected postgresql`, false},
		{"a kubeconfig that is not there", []string{"recover", "-f", replace(w.Stack.Kubeconfig(), "/nowhere/kubeconfig")}, "/nowhere/kubeconfig: no such file or directory", false},
		{"a server that is not there", []string{"drill", "-f", kubeconfig(func(k map[string]any) { server(k)["server"] = "https://127.0.0.1:1" })}, "cluster https://127.0.0.1:1: ask for its version: ", false},
		{"a server that is another", []string{"recover", "-f", kubeconfig(func(k map[string]any) { delete(server(k), "certificate-authority-data") })}, "certificate signed by unknown authority", false},
		{"credentials that are refused", []string{"recover", "-f", kubeconfig(as(map[string]any{"token": "nonsense"}))}, "refused the credentials of the kubeconfig: GET /version: HTTP 401 Unauthorized", false},
		{"no credentials", []string{"evaluate", "-f", kubeconfig(as(map[string]any{}))}, `refused the credentials of the kubeconfig: `, false},
		{"an output that is not known", []string{"recover", "-f", w.Sample.Plan, "-o", "yaml"}, `--output "yaml": expected text or json`, false},
		{"a directory of runs that is none", []string{"recover", "-f", w.Sample.Plan, "--state-dir", file}, "not a directory; nothing was begun", false},
		{"a full disk", []string{"recover", "-f", w.Sample.Plan}, "the run cannot be kept: ", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			state, from := filepath.Join(t.TempDir(), "runs"), time.Now()
			// The shell gives its place to the CLI. No file may grow where the disk is to be full.
			limit := "unlimited"
			if tc.full {
				limit = "0"
			}
			c := w.exec(t, state, "sh", append([]string{"-c", "ulimit -f " + limit + ` && exec "$@"`, "sh", binary(t), "--state-dir", state}, tc.args...)...)
			if code := c.code(); code != 2 {
				t.Errorf("exit code %d", code)
			}
			w.saidOnce(t, c, tc.says)
			w.nothingChanged(t, from, "")
			if kept, _ := os.ReadDir(state); len(kept) > 0 {
				t.Errorf("something was kept: %v", kept)
			}
		})
	}
}

func (w *world) saidOnce(t *testing.T, c *child, says string) {
	t.Helper()
	stderr := strings.TrimSpace(c.err.String())
	if !strings.HasPrefix(stderr, "fallback: ") || !strings.Contains(stderr, says) || strings.Contains(stderr, "\n") {
		t.Errorf("stderr is %q, want one message with %q", stderr, says)
	}
	if c.out.Len() > 0 {
		t.Errorf("stdout is %q", c.out.String())
	}
}
