package plancmd

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/plan"
)

// run runs the command as a shell would.
func run(t *testing.T, stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	c := New()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

const good = `apiVersion: fallbackchain.io/v1alpha1
kind: FallbackPlan
metadata: {name: shop}
spec:
  workload:
    namespace: shop
    statefulSet: shop-db
    database:
      engine: postgresql
      port: 5432
      name: shop
      credentials: {secret: {name: shop-db}}
      queries: [{name: orders, sql: SELECT 1, expect: {equals: "1"}}]
  cluster: {kubeconfig: {path: kubeconfig}}
  schedule: {drill: rate(1 day), timeZone: Pacific/Auckland}
`

func TestValidate(t *testing.T) {
	bad := strings.NewReplacer("5432", "0", "kubeconfig}}", "kubeconfig}}\n  colour: blue").Replace(good)
	for name, c := range map[string]struct{ text, says, fails string }{
		"good":         {good, "-: plan shop is valid\n", ""},
		"two mistakes": {bad, "-:10:13: spec.workload.database.port: is not a port: got \"0\", expected 1 to 65535\n-:15:3: spec.colour: ", "- has 2 mistakes"},
		"one mistake":  {strings.Replace(good, "5432", "0", 1), "is not a port", "- has 1 mistake"},
		"nothing":      {"", "the plan is empty", "- has 1 mistake"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := run(t, c.text, "validate", "-f", "-")
			if !strings.Contains(out, c.says) {
				t.Errorf("printed %q, want %q in it", out, c.says)
			}
			if (err == nil) != (c.fails == "") || (err != nil && err.Error() != c.fails) {
				t.Errorf("got error %v, want %q", err, c.fails)
			}
		})
	}
}

func TestValidateJSON(t *testing.T) {
	for text, valid := range map[string]bool{good: true, strings.Replace(good, "5432", "0", 1): false} {
		out, _, err := run(t, text, "validate", "-f", "-", "--output", "json")
		var v verdict
		if uerr := json.Unmarshal([]byte(out), &v); uerr != nil {
			t.Fatalf("%v in %s", uerr, out)
		}
		if v.Valid != valid || (err == nil) != valid || (len(v.Problems) == 0) != valid || v.Digest != plan.Digest([]byte(text)) {
			t.Errorf("got %+v and %v, want valid %v", v, err, valid)
		}
		if !valid && (v.Problems[0].Path != "spec.workload.database.port" || v.Problems[0].Line != 10) {
			t.Errorf("the problem is %+v", v.Problems[0])
		}
	}
}

func TestValidateRefusesItsArguments(t *testing.T) {
	for says, args := range map[string][]string{
		`"file" not set`:     {"validate"},
		"no such file":       {"validate", "-f", filepath.Join(t.TempDir(), "x")},
		"expected text or j": {"validate", "-f", "-", "-o", "xml"},
	} {
		if _, _, err := run(t, "", args...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: got %v, want %q", args, err, says)
		}
	}
}

func TestSchema(t *testing.T) {
	out, _, err := run(t, "", "schema")
	if err != nil || out != string(plan.Schema()) || !json.Valid([]byte(out)) {
		t.Errorf("schema printed %d bytes, %v", len(out), err)
	}
}

// apiServer answers GET requests by path; what it does not have is 404, and "!" is 403.
func apiServer(t *testing.T, answers map[string]string) (kubeconfig string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.URL.Path]
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
		case body == "!":
			w.WriteHeader(http.StatusForbidden)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"apiVersion":"v1","kind":"Config","current-context":"here","contexts":[{"name":"here","context":{"cluster":"c"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"` + s.URL + `"}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	statefulSets = "/apis/apps/v1/namespaces/shop/statefulsets"
	set          = `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"namespace":"shop","name":"shop-db"},"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"db","image":"postgres:15"}]}}}}`
)

func listOf(items ...string) string {
	return `{"apiVersion":"v1","kind":"List","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func TestInitWritesAPlanThatValidates(t *testing.T) {
	answers := map[string]string{
		statefulSets: listOf(set), "/api/v1/namespaces/shop/services": listOf(), "/api/v1/namespaces/shop/persistentvolumeclaims": listOf(),
		"/api/v1/namespaces/shop/secrets":                               listOf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"reader"},"type":"Opaque","data":{"username":"YQ==","password":"aHVudGVyMg=="}}`),
		"/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers": listOf(), "/apis/storage.k8s.io/v1/storageclasses": "!",
		"/apis/apps/v1/deployments": listOf(),
	}
	out, warned, err := run(t, "", "init", "-n", "shop", "--kubeconfig", apiServer(t, answers))
	if err != nil {
		t.Fatal(err)
	}
	p, problems := plan.Parse("init", []byte(out))
	if err := problems.Err(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if p.Spec.Workload.StatefulSet != "shop-db" || p.Spec.Workload.Database.Credentials.Secret.Name != "reader" || p.Spec.Cluster.Kubeconfig.Context != "here" {
		t.Errorf("the plan is %+v", p.Spec.Workload)
	}
	if strings.Contains(out, "aHVudGVyMg") || strings.Contains(out, "hunter2") {
		t.Error("the plan holds a password")
	}
	if !strings.Contains(warned, "storageclasses could not be read") || strings.Count(warned, "\n") != 1 {
		t.Errorf("warned %q, want one line about storageclasses", warned)
	}
}

func TestInitFails(t *testing.T) {
	two := listOf(set, strings.ReplaceAll(set, "shop-db", "other"))
	for name, c := range map[string]struct {
		answers map[string]string
		args    []string
		says    string
	}{
		"none":         {map[string]string{statefulSets: listOf()}, nil, "namespace shop has no StatefulSet"},
		"two":          {map[string]string{statefulSets: two}, nil, "shop-db, other: choose one with --statefulset"},
		"refused":      {map[string]string{statefulSets: "!"}, nil, "StatefulSets in namespace shop: no"},
		"named absent": {map[string]string{}, []string{"--statefulset", "x"}, "StatefulSet shop/x"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"init", "-n", "shop", "--kubeconfig", apiServer(t, c.answers)}, c.args...)
			if out, _, err := run(t, "", args...); err == nil || !strings.Contains(err.Error(), c.says) || out != "" {
				t.Errorf("got %v and %q, want an error with %q", err, out, c.says)
			}
		})
	}
	if _, _, err := run(t, "", "init", "-n", "shop", "--kubeconfig", "/nowhere/kubeconfig"); err == nil || !strings.Contains(err.Error(), "/nowhere/kubeconfig") {
		t.Errorf("got %v, want the file that is missing", err)
	}
}

func TestKubeconfigPath(t *testing.T) {
	t.Setenv("KUBECONFIG", "/a/one"+string(os.PathListSeparator)+"/a/two")
	for flag, want := range map[string]string{"": "/a/one", "/b": "/b"} {
		if got, err := kubeconfigPath(flag); err != nil || got != want {
			t.Errorf("flag %q gives %q %v, want %q", flag, got, err, want)
		}
	}
}
