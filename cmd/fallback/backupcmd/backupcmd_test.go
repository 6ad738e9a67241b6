package backupcmd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	runs "fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

var update = flag.Bool("update", false, "write the golden files")

const planText = `apiVersion: fallbackchain.io/v1alpha1
kind: FallbackPlan
metadata: {name: shop}
spec:
  workload:
    namespace: shop
    statefulSet: pg
    database:
      engine: postgresql
      port: 5432
      name: shop
      credentials: {secret: {name: shop-db}}
      queries: [{name: one, sql: select 1, expect: {equals: "1"}}]
  cluster: {kubeconfig: {path: kubeconfig}}
  inventory:
    maxAge: 48h
    velero: {location: "s3://velero/shop"}
`

// scene is a plan, its place of backups and its cluster.
type scene struct {
	*testing.T
	store *backuptest.Store
	world *steptest.World
	key   backup.Verifier
	away  bool
	plan  string
}

func spec(name string, ago time.Duration) backuptest.Spec {
	return backuptest.Spec{Name: name, Namespace: "shop", StatefulSet: "pg", ClusterUID: steptest.ClusterUID, Kubernetes: steptest.Kubernetes,
		Started: steptest.Start.Add(-ago - 30*time.Second), Schedule: "nightly"}
}

func newScene(t *testing.T, backups ...backuptest.Spec) *scene {
	t.Helper()
	s := &scene{T: t, store: backuptest.NewStore(backups...), plan: filepath.Join(t.TempDir(), "plan.yaml")}
	s.world = steptest.New(t, runs.Recover, &plan.Plan{Metadata: plan.Metadata{Name: "shop"}})
	if err := os.WriteFile(s.plan, []byte(planText), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) sign() {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil {
		s.key, err = backup.NewSigner(k)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// run runs the command and returns its output and exit code.
func (s *scene) run(args ...string) (out, said string, code int) {
	s.Helper()
	var o, e bytes.Buffer
	c := New(Edges{
		Backups: func(context.Context, *plan.Plan) (backup.Store, error) { return s.store, nil },
		Key:     func(context.Context, *plan.Plan) (backup.Verifier, error) { return s.key, nil },
		Connect: func(context.Context, *plan.Plan) (*cluster.Client, error) {
			if s.away {
				return nil, errors.New("connection refused")
			}
			return s.world.Cluster, nil
		},
		Now: s.world.Now,
	})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(append(args, "-f", s.plan))
	err := c.ExecuteContext(s.Context())
	var own interface{ ExitCode() int }
	switch {
	case errors.As(err, &own):
		code = own.ExitCode()
	case err != nil:
		code = 2
	}
	if err != nil {
		e.WriteString(err.Error() + "\n")
	}
	return o.String(), e.String(), code
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestVerify(t *testing.T) {
	tarball := backuptest.Key("new", ".tar.gz")
	for _, tc := range []struct {
		name   string
		change func(*scene)
		args   []string
		code   int
	}{
		{"good", func(*scene) {}, nil, 0},
		{"named", func(*scene) {}, []string{"--backup", "old"}, 0},
		{"truncated", func(s *scene) { s.store.Truncate(tarball) }, []string{"--backup", "new"}, 1},
		{"passed-over", func(s *scene) { s.store.Delete(tarball) }, nil, 0},
		{"refused", func(s *scene) { s.store.Fault(tarball, backuptest.Refused) }, []string{"--backup", "new"}, 2},
		{"cluster-away", func(s *scene) { s.away = true }, nil, 0},
		{"none", func(*scene) {}, []string{"--backup", "other"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(t, spec("old", 2*time.Hour), spec("new", time.Hour))
			tc.change(s)
			out, said, code := s.run(append([]string{"verify"}, tc.args...)...)
			if code != tc.code {
				t.Errorf("exit code %d, expected %d: %s", code, tc.code, said)
			}
			golden(t, "verify-"+tc.name, out)
			out, _, again := s.run(append([]string{"verify", "-o", "json"}, tc.args...)...)
			var r report
			if err := json.Unmarshal([]byte(out), &r); err != nil || again != code || r.Location != "s3://velero/shop" || r.Reason == "" {
				t.Errorf("%v: exit code %d: %s", err, again, out)
			}
		})
	}
}

func TestList(t *testing.T) {
	s := newScene(t, spec("old", 26*time.Hour), spec("new", time.Hour))
	s.store.Set(backuptest.Key("broken", "velero-backup.json"), []byte("{"))
	out, said, code := s.run("list")
	if code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	golden(t, "list", out)
	out, _, _ = s.run("list", "-o", "json")
	var r struct{ Backups []backup.Summary }
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Backups) != 2 || r.Backups[0].Name != "new" || r.Backups[0].Schedule != "nightly" {
		t.Errorf("%v %s", err, out)
	}
}

func TestSeal(t *testing.T) {
	s := newScene(t, spec("b", time.Hour))
	if _, said, code := s.run("seal", "--backup", "b"); code != 2 || !strings.Contains(said, "no private key") {
		t.Errorf("exit code %d: %s", code, said)
	}
	s.sign()
	if _, said, code := s.run("seal", "--backup", "b"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if out, _, code := s.run("verify"); code != 0 || !strings.Contains(out, "integrity True") {
		t.Errorf("exit code %d: %s", code, out)
	}
	s.store.Flip(backuptest.Key("b", "-logs.gz"), -5)
	if out, _, code := s.run("verify"); code != 1 || !strings.Contains(out, "b-logs.gz") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestSealRefusesABrokenOne(t *testing.T) {
	s := newScene(t, spec("b", time.Hour))
	s.sign()
	s.store.Truncate(backuptest.Key("b", ".tar.gz"))
	before := len(s.store.Keys())
	if _, said, code := s.run("seal", "--backup", "b"); code != 1 || len(s.store.Keys()) != before {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// server stands in for Velero: it gives every Backup that is made the phase, and writes its objects.
func (s *scene) server(phase string, status map[string]any) {
	s.world.Fake.PrependReactor("create", "backups", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		u.Object["status"] = map[string]any{"phase": phase}
		for k, v := range status {
			u.Object["status"].(map[string]any)[k] = v
		}
		b := spec(u.GetName(), time.Minute)
		b.ClusterUID, b.Phase = u.GetLabels()[backup.LabelCluster], phase
		s.store.Add(b)
		return false, nil, nil
	})
}

func TestCreate(t *testing.T) {
	s := newScene(t)
	s.sign()
	s.server("Completed", nil)
	out, said, code := s.run("create")
	const name = "shop-20261121020000"
	if code != 0 || !strings.Contains(said, "Completed") || !strings.Contains(out, name+": True") || !strings.Contains(out, "integrity True") {
		t.Errorf("exit code %d: %s\n%s", code, said, out)
	}
	made := s.world.Get(velero.Backups, "velero", name)
	if made == nil || made.GetLabels()[backup.LabelCluster] != steptest.ClusterUID {
		t.Fatalf("%v", made)
	}
	namespaces, _, _ := unstructured.NestedStringSlice(made.Object, "spec", "includedNamespaces")
	location, _, _ := unstructured.NestedString(made.Object, "spec", "storageLocation")
	if len(namespaces) != 1 || namespaces[0] != "shop" || location != "default" {
		t.Errorf("%v %s", namespaces, location)
	}
}

func TestCreateThatFails(t *testing.T) {
	s := newScene(t)
	s.server("PartiallyFailed", map[string]any{"errors": int64(2)})
	if _, said, code := s.run("create", "--name", "x"); code != 1 || !strings.Contains(said, "PartiallyFailed: 2 errors") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, said, code := s.run("create", "--name", "x"); code != 2 || !strings.Contains(said, "already exists") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestCreateThatNobodyTakesUp(t *testing.T) {
	s := newScene(t)
	if _, said, code := s.run("create", "--wait", "50ms"); code != 2 || !strings.Contains(said, "is New after 50ms") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestMistakes(t *testing.T) {
	s := newScene(t)
	for _, args := range [][]string{{"verify", "-o", "yaml"}, {"seal"}, {"list", "more"}} {
		if _, said, code := s.run(args...); code != 2 || said == "" {
			t.Errorf("%v: exit code %d: %s", args, code, said)
		}
	}
	text := strings.Replace(planText, `velero: {location: "s3://velero/shop"}`, "manifests: {path: bundle}", 1)
	if err := os.WriteFile(s.plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, code := s.run("verify"); code != 2 || !strings.Contains(said, "spec.inventory.velero") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
