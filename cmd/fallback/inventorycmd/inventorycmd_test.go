package inventorycmd

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/signal"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := New()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// answers of a cluster with one StatefulSet and its Secret, by path; anything else is 404.
func answers() map[string]string {
	list := func(items ...string) string {
		return `{"apiVersion":"v1","kind":"List","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
	}
	resource := func(name, kind string) string {
		return `{"name":"` + name + `","kind":"` + kind + `","namespaced":true,"verbs":["create","get","list"]}`
	}
	return map[string]string{
		"/version": `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`,
		"/api":     `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],` +
			`"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}`,
		"/api/v1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[` + resource("secrets", "Secret") + `,` +
			resource("pods", "Pod") + `,{"name":"bindings","kind":"Binding","namespaced":true,"verbs":["create"]}]}`,
		"/apis/apps/v1":                              `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1","resources":[` + resource("statefulsets", "StatefulSet") + `]}`,
		"/api/v1/namespaces/kube-system":             `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"11111111-2222"}}`,
		"/api/v1/namespaces/shop":                    `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","uid":"2"}}`,
		"/api/v1/namespaces/shop/secrets":            list(`{"metadata":{"name":"shop-db","namespace":"shop"},"type":"Opaque","data":{"a":"Yg=="}}`),
		"/apis/apps/v1/namespaces/shop/statefulsets": list(`{"metadata":{"name":"shop-db","namespace":"shop"},"spec":{"replicas":1}}`),
	}
}

// shop writes a plan and a kubeconfig for an API server with the answers.
func shop(t *testing.T, answers map[string]string) (planFile string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "kubeconfig"), `{"apiVersion":"v1","kind":"Config","current-context":"here","contexts":[{"name":"here","context":{"cluster":"c"}}],`+
		`"clusters":[{"name":"c","cluster":{"server":"`+s.URL+`"}}]}`)
	planFile = filepath.Join(dir, "plan.yaml")
	write(t, planFile, planText)
	return planFile
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const planText = `apiVersion: fallbackchain.io/v1alpha1
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
  inventory: {manifests: {path: bundle}}
`

func TestCaptureAndVerify(t *testing.T) {
	file := shop(t, answers())
	out, err := run(t, "capture", "-f", file)
	if err != nil || !strings.Contains(out, "3 objects and 0 snapshots of namespace shop, Kubernetes v1.36.3") {
		t.Fatalf("capture: %v %s", err, out)
	}
	out, err = run(t, "verify", "-f", file)
	if err != nil || !strings.Contains(out, "True (Verified)") {
		t.Errorf("verify: %v %s", err, out)
	}
	write(t, filepath.Join(filepath.Dir(file), "bundle", "extra.yaml"), "x")
	out, err = run(t, "verify", "-f", file)
	if err == nil || !strings.Contains(out, "False (FilesBroken)") || !strings.Contains(out, "\n  extra.yaml: is not in bundle.json") {
		t.Errorf("verify of a spoiled bundle: %v %s", err, out)
	}
	out, err = run(t, "verify", "-f", file, "--output", "json")
	var r inventory.Result
	if uerr := json.Unmarshal([]byte(out), &r); uerr != nil || err == nil || r.Status != signal.False || len(r.Findings) != 1 {
		t.Errorf("verify as JSON: %v %v %s", uerr, err, out)
	}
}

func TestVerifyAgainstAnotherCluster(t *testing.T) {
	file := shop(t, answers())
	if out, err := run(t, "capture", "-f", file); err != nil {
		t.Fatal(err, out)
	}
	other := answers()
	other["/api/v1/namespaces/kube-system"] = strings.Replace(other["/api/v1/namespaces/kube-system"], "11111111", "99999999", 1)
	elsewhere := shop(t, other)
	if err := os.Rename(filepath.Join(filepath.Dir(file), "bundle"), filepath.Join(filepath.Dir(elsewhere), "bundle")); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "verify", "-f", elsewhere); err == nil || !strings.Contains(out, "OtherCluster") {
		t.Errorf("a bundle of another cluster verified: %v %s", err, out)
	}
}

func TestCaptureToAnotherDirectory(t *testing.T) {
	file, dir := shop(t, answers()), filepath.Join(t.TempDir(), "b")
	if out, err := run(t, "capture", "-f", file, "-o", dir); err != nil {
		t.Fatal(err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, inventory.ManifestFile)); err != nil {
		t.Error(err)
	}
}

// TestFails: one sentence that names what is wrong, and nothing written.
func TestFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(map[string]string)
		plan  func(string) string
		args  []string
		says  string
	}{
		"no StatefulSet": {spoil: func(a map[string]string) {
			a["/apis/apps/v1/namespaces/shop/statefulsets"] = `{"apiVersion":"apps/v1","kind":"StatefulSetList","metadata":{},"items":[]}`
		},
			args: []string{"capture"}, says: "there is no StatefulSet shop-db"},
		"no namespace": {spoil: func(a map[string]string) { delete(a, "/api/v1/namespaces/shop") }, args: []string{"capture"}, says: "namespace shop"},
		"no identity":  {spoil: func(a map[string]string) { delete(a, "/api/v1/namespaces/kube-system") }, args: []string{"verify"}, says: "identity"},
		"no bundle":    {args: []string{"verify"}, says: "BundleMissing"},
		"no version":   {spoil: func(a map[string]string) { delete(a, "/version") }, args: []string{"capture"}, says: "version"},
		"group that cannot be discovered": {spoil: func(a map[string]string) { a["/apis/apps/v1"] = "garbage" },
			args: []string{"capture"}, says: "cannot be discovered"},
		"plan for EKS": {plan: func(s string) string {
			return strings.Replace(s, "{kubeconfig: {path: kubeconfig}}", "{eks: {name: a, region: eu-west-1}}", 1)
		}, args: []string{"capture"}, says: "expected spec.cluster.kubeconfig"},
		"bundle in S3": {plan: func(s string) string { return strings.Replace(s, "path: bundle", "path: s3://bucket/x", 1) },
			args: []string{"capture"}, says: "a directory is expected"},
		"no inventory": {plan: func(s string) string { return strings.Replace(s, "  inventory: {manifests: {path: bundle}}\n", "", 1) },
			args: []string{"verify"}, says: "spec.inventory.manifests.path"},
		"bad plan":   {plan: func(s string) string { return strings.Replace(s, "5432", "0", 1) }, args: []string{"capture"}, says: "is not a port"},
		"bad output": {args: []string{"verify", "--output", "xml"}, says: "expected text or json"},
	} {
		t.Run(name, func(t *testing.T) {
			a := answers()
			if c.spoil != nil {
				c.spoil(a)
			}
			file := shop(t, a)
			if c.plan != nil {
				write(t, file, c.plan(planText))
			}
			if out, err := run(t, append(c.args, "-f", file)...); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v %s, want an error with %q", err, out, c.says)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "bundle")); err == nil {
				t.Error("a bundle was written")
			}
		})
	}
}
