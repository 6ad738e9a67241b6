package plan

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// TestProblemsOfBadPlans holds the whole list of problems of every bad plan against its golden file.
func TestProblemsOfBadPlans(t *testing.T) {
	for name, data := range files(t, "bad") {
		t.Run(name, func(t *testing.T) {
			p, problems := Parse(name+".yaml", data)
			if p != nil || len(problems) == 0 {
				t.Fatalf("the plan was taken: %v", problems)
			}
			golden(t, filepath.Join("testdata", "bad", name+".golden"), problems.Error()+"\n")
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestEveryProblemSaysWhereAndWhat(t *testing.T) {
	for name, data := range files(t, "bad") {
		_, problems := Parse(name, data)
		seen := map[string]bool{}
		for _, p := range problems {
			if p.File != name || p.Message == "" {
				t.Errorf("%s: %+v lacks its file or message", name, p)
			}
			if len(data) > 0 && p.Line == 0 {
				t.Errorf("%s: %s has no line", name, p)
			}
			if seen[p.String()] {
				t.Errorf("%s: said twice: %s", name, p)
			}
			seen[p.String()] = true
		}
	}
}

func TestTooLargePlan(t *testing.T) {
	_, problems := Parse("large", []byte(strings.Repeat("#", SizeLimit+1)))
	if want := fmt.Sprintf("expected at most %d", SizeLimit); len(problems) != 1 || !strings.Contains(problems.Error(), want) {
		t.Errorf("got %v, want one problem that says %q", problems, want)
	}
}

func TestLoadFillsDefaultsAndResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plan.yaml")
	text := strings.Replace(string(files(t, "good")["minimal"]), "  cluster:", "  inventory: {manifests: {path: bundle}}\n  cluster:", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Spec
	for _, c := range []struct{ field, got, want string }{
		{"kubeconfig", s.Cluster.Kubeconfig.Path, filepath.Join(dir, "kubeconfig")},
		{"bundle", s.Inventory.Manifests.Path, filepath.Join(dir, "bundle")},
		{"pod", s.Workload.Database.Pod, "primary"},
		{"level", string(s.Quarantine.Level), "Enforced"},
		{"probe", strings.Join(s.Quarantine.Probes, ","), DefaultProbe},
		{"source", string(s.Rollback.Snapshots.Source), "Fresh"},
		{"gate budget", s.Gate.Budget.String(), "10m"},
		{"max age", s.Inventory.MaxAge.String(), "48h"},
		{"tls", string(s.Workload.Database.TLS), "Prefer"},
		{"kind", string(s.Workload.Database.Queries[0].Kind), "Smoke"},
		{"rto", s.Objectives.RTO.String(), "0s"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.field, c.got, c.want)
		}
	}
	if _, err := Load(filepath.Join(dir, "nothing.yaml")); err == nil {
		t.Error("a plan that does not exist was loaded")
	}
}

func TestWithDefaultsLeavesTheOriginalAlone(t *testing.T) {
	p, problems := Parse("full", files(t, "good")["full"])
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	d := p.WithDefaults()
	d.Spec.Rollback.Snapshots.Selector["app.kubernetes.io/name"] = "other"
	d.Spec.Quarantine.Probes[0] = "other:1"
	*d.Spec.Tiers.ControlPlaneReconcile.Enabled = true
	if p.Spec.Rollback.Snapshots.Selector["app.kubernetes.io/name"] != "shop" || p.Spec.Quarantine.Probes[0] == "other:1" ||
		*p.Spec.Tiers.ControlPlaneReconcile.Enabled {
		t.Error("the copy shares memory with the plan")
	}
}

func TestAbsoluteLeavesOtherPlacesAlone(t *testing.T) {
	for path, want := range map[string]string{"b": "/plans/b", "/a/b": "/a/b", "s3://bucket/x": "s3://bucket/x"} {
		p := &Plan{Spec: Spec{Inventory: &Inventory{Manifests: &ManifestBundle{Path: path}}}}
		if p.Absolute("/plans"); p.Spec.Inventory.Manifests.Path != want {
			t.Errorf("%s became %s, want %s", path, p.Spec.Inventory.Manifests.Path, want)
		}
	}
}

func TestVeleroAndSecretsManagerDefaults(t *testing.T) {
	p := &Plan{Spec: Spec{Inventory: &Inventory{Velero: &Velero{CredentialsFile: "s3", Integrity: Integrity{Key: "key.pem"}}}}}
	p.Spec.Workload.Database.Credentials.SecretsManager = &SecretsManagerRef{ID: "shop"}
	p.Absolute("/plans")
	d := p.WithDefaults()
	v, m := d.Spec.Inventory.Velero, d.Spec.Workload.Database.Credentials.SecretsManager
	if got := []any{v.CredentialsFile, v.Integrity.Key, v.Namespace, v.StorageLocation, v.Integrity.Manifest, v.Rehearsal, m.UsernameKey, m.PasswordKey}; !cmp.Equal(got,
		[]any{"/plans/s3", "/plans/key.pem", "velero", "default", ManifestOptional, RehearsalStops, "username", "password"}) {
		t.Errorf("%v", got)
	}
	if p.Spec.Inventory.Velero.Namespace != "" || p.Spec.Workload.Database.Credentials.SecretsManager.UsernameKey != "" {
		t.Error("the copy shares memory with the plan")
	}
	const arn = "arn:aws:kms:eu-central-1:123456789012:key/x"
	p.Spec.Inventory.Velero.Integrity.Key = arn
	if p.Absolute("/plans"); p.Spec.Inventory.Velero.Integrity.Key != arn {
		t.Errorf("the key became %s", p.Spec.Inventory.Velero.Integrity.Key)
	}
}

func TestDurationText(t *testing.T) {
	for in, want := range map[string]string{"5m": "5m", "1h0m0s": "1h", "90m": "1h30m", "1.5s": "1.5s", "100ms": "100ms", "10m": "10m", "0s": "0s", "1h5s": "1h0m5s"} {
		d, err := parseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%s reads as %q, %v; want %q", in, d, err, want)
		}
		if again, err := parseDuration(d.String()); err != nil || again != d {
			t.Errorf("%s does not read back: %v %v", d, again, err)
		}
		var j Duration
		if text, err := d.MarshalJSON(); err != nil || j.UnmarshalJSON(text) != nil || j != d {
			t.Errorf("%s does not read back from JSON: %v", d, j)
		}
	}
}

func TestCheckExpression(t *testing.T) {
	for _, ok := range []string{"rate(5 minutes)", "rate(1 hour)", "rate(30 days)", "cron(15 3 * * ? *)", "cron(0/15 8-17 ? * MON-FRI *)",
		"cron(0 0 L * ? *)", "cron(0 0 LW * ? *)", "cron(0 0 15W * ? *)", "cron(0 9 ? * 6L *)", "cron(0 9 ? JAN,MAR 2#1 2026-2030)",
		"cron(*/5 * * * ? *)", "at(2026-12-24T18:00:00)"} {
		if err := CheckExpression(ok); err != nil {
			t.Errorf("%s: refused, expected %v", ok, err)
		}
	}
	for _, bad := range []string{"", "5 minutes", "rate(5)", "rate(-1 minutes)", "rate(5 weeks)", "rate(5  minutes)", "cron()", "cron(0 3 * * * *)",
		"cron(0 3 ? * ? *)", "cron(0 3 * * ?)", "cron(60 3 * * ? *)", "cron(0 24 * * ? *)", "cron(0 3 0 * ? *)", "cron(0 3 * 13 ? *)",
		"cron(0 3 ? * 8 *)", "cron(0 3 ? * MON#6 *)", "cron(0 3 * * ? 1969)", "cron(? 3 * * ? *)", "cron(L 3 * * ? *)", "cron(0 3 L,W * ? *)",
		"cron(5-1 3 * * ? *)", "cron(0/0 3 * * ? *)", "cron(0 3 LX * ? *)", "at(2026-13-01T00:00:00)", "at(2026-12-24)", "cron(0 3 * * ? *) "} {
		if CheckExpression(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzParse: no input panics, and whatever parses comes back the same after Marshal, with and without defaults.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for _, data := range files(f, dir) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, problems := Parse("fuzz", data)
		if (p == nil) != (len(problems) > 0) {
			t.Fatalf("plan %v with problems %v", p, problems)
		}
		if p == nil {
			return
		}
		roundTrip(t, p)
		roundTrip(t, p.WithDefaults())
		if err := p.Validate().Err(); err != nil {
			t.Fatalf("Validate finds what Parse did not: %v", err)
		}
	})
}

// FuzzText puts text where a plan takes any, so that quoting is tried harder than by mutating whole plans.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a", "a: b", " - x", "\n", "line\nline", "a\n\n", "  a\nb", "é\u2028b", "\ttab", "'", "\"", "null", "~", "1e3", "0x1f", "#",
		"a #b", "-", "? x", "!t", "&a", "*a", "%", "@", "`", "a\r\nb", "\ufeff", "\x00", "\x85", "trailing ", "<<", "=", "2024-01-01", "yes"} {
		f.Add(s, 1.5, uint32(90_000))
	}
	base, problems := Parse("full", files(f, "good")["full"])
	if err := problems.Err(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string, n float64, ms uint32) {
		if !utf8.ValidString(s) {
			return // YAML is Unicode: Parse never yields it
		}
		p := base.WithDefaults()
		q := p.Spec.Workload.Database.Queries
		q[0].SQL, q[1].Expect.Equals, q[2].Expect.AtMost, q[1].Name = s, &s, &n, s
		p.Spec.Cluster = Cluster{Kubeconfig: &Kubeconfig{Path: s, Context: s}}
		p.Spec.Objectives.RTO = Duration(time.Duration(ms) * time.Millisecond)
		if len(p.Validate()) > 0 || math.IsNaN(n) || math.IsInf(n, 0) {
			return
		}
		roundTrip(t, p)
	})
}
