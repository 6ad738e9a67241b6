package inventory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"fallbackchain.io/fallback/shared/signal"
)

// bundle is a captured bundle that a test may spoil.
type bundle struct {
	t   *testing.T
	dir string
}

const secretFile = "07-secret-shop.shop-db.yaml"

func (b bundle) write(name, text string) {
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b bundle) remove(name string) {
	if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b bundle) read(name string) string {
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// manifest changes bundle.json.
func (b bundle) manifest(change func(*Manifest)) {
	var m Manifest
	if err := json.Unmarshal([]byte(b.read(ManifestFile)), &m); err != nil {
		b.t.Fatal(err)
	}
	change(&m)
	data, err := m.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(ManifestFile, string(data))
}

// resign writes a file and its digest, as somebody does who edits both.
func (b bundle) resign(name, text string) {
	b.write(name, text)
	b.manifest(func(m *Manifest) {
		sum := sha256.Sum256([]byte(text))
		entry := File{name, hex.EncodeToString(sum[:]), int64(len(text))}
		for i := range m.Files {
			if m.Files[i].Path == name {
				m.Files[i] = entry
				return
			}
		}
		m.Files = append(m.Files, entry)
	})
}

func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		spoil    func(bundle)
		target   func(*Target)
		age      time.Duration
		maxAge   time.Duration
		status   signal.Status
		reason   string
		findings []string
	}{
		"untouched": {status: signal.True, reason: ReasonVerified},
		"target one minor up": {target: func(t *Target) { t.KubernetesVersion = "v1.37.0" },
			status: signal.True, reason: ReasonNewerKubernetes},
		"target two minors up": {target: func(t *Target) { t.KubernetesVersion = "v1.38.1" },
			status: signal.False, reason: ReasonKubernetesMismatch, findings: []string{"expected the same minor or one higher"}},
		"target one minor down": {target: func(t *Target) { t.KubernetesVersion = "v1.35.9" },
			status: signal.False, reason: ReasonKubernetesMismatch, findings: []string{"v1.35.9"}},
		"target another major": {target: func(t *Target) { t.KubernetesVersion = "v2.36.0" },
			status: signal.False, reason: ReasonKubernetesMismatch, findings: []string{"v2.36.0"}},
		"target version unknown": {target: func(t *Target) { t.KubernetesVersion = "" },
			status: signal.Unknown, reason: ReasonTargetUnknown, findings: []string{"could not be read"}},
		"target version odd": {target: func(t *Target) { t.KubernetesVersion = "latest" },
			status: signal.Unknown, reason: ReasonTargetUnknown, findings: []string{`"latest"`}},
		"identity unknown": {target: func(t *Target) { t.ClusterUID = "" },
			status: signal.Unknown, reason: ReasonTargetUnknown, findings: []string{"identity could not be read"}},
		"other cluster": {target: func(t *Target) { t.ClusterUID = "other" },
			status: signal.False, reason: ReasonOtherCluster, findings: []string{"the target is other"}},
		"other namespace": {target: func(t *Target) { t.Namespace = "bank" },
			status: signal.False, reason: ReasonOtherWorkload, findings: []string{"the plan's is bank"}},
		"other StatefulSet": {target: func(t *Target) { t.StatefulSet = "bank" },
			status: signal.False, reason: ReasonOtherWorkload, findings: []string{"the plan's is bank"}},
		"too old":      {age: 25 * time.Hour, status: signal.False, reason: ReasonTooOld, findings: []string{"25h0m0s old, expected at most 24h0m0s"}},
		"just in time": {age: 24 * time.Hour, status: signal.True, reason: ReasonVerified},
		"future":       {age: -6 * time.Minute, status: signal.False, reason: ReasonFromTheFuture, findings: []string{"has not come yet"}},
		"clock skew":   {age: -4 * time.Minute, status: signal.True, reason: ReasonVerified},
		"no max age":   {maxAge: -1, status: signal.Unknown, reason: ReasonTargetUnknown, findings: []string{"no greatest age"}},
		"one byte changed": {spoil: func(b bundle) { b.write(secretFile, strings.Replace(b.read(secretFile), "c2Vj", "c2Vk", 1)) },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"digest"}},
		"file longer": {spoil: func(b bundle) { b.write(secretFile, b.read(secretFile)+"\n") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"size"}},
		"file shorter": {spoil: func(b bundle) { b.write(secretFile, b.read(secretFile)[1:]) },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"size"}},
		"file gone": {spoil: func(b bundle) { b.remove(secretFile) },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{secretFile + ": is missing"}},
		"file added": {spoil: func(b bundle) { b.write("99-extra.yaml", "a: b") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"99-extra.yaml: is not in bundle.json"}},
		"link in place of a file": {spoil: func(b bundle) {
			b.write("elsewhere", b.read(secretFile))
			b.remove(secretFile)
			if err := os.Symlink("elsewhere", filepath.Join(b.dir, secretFile)); err != nil {
				b.t.Fatal(err)
			}
		}, status: signal.False, reason: ReasonFilesBroken, findings: []string{"not a regular file", "elsewhere: is not in"}},
		"directory in place of a file": {spoil: func(b bundle) {
			b.remove(secretFile)
			if err := os.Mkdir(filepath.Join(b.dir, secretFile), 0o700); err != nil {
				b.t.Fatal(err)
			}
		}, status: signal.False, reason: ReasonFilesBroken, findings: []string{"not a regular file"}},
		"not an object": {spoil: func(b bundle) { b.resign(secretFile, "just: text\n") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"not a Kubernetes object"}},
		"not YAML": {spoil: func(b bundle) { b.resign(secretFile, "a: [") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"not YAML"}},
		"two objects in a file": {spoil: func(b bundle) { b.resign(secretFile, b.read(secretFile)+"---\n"+b.read(secretFile)) },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"more than one document"}},
		"a list": {spoil: func(b bundle) { b.resign(secretFile, "apiVersion: v1\nkind: List\nmetadata: {name: a}\nitems: []\n") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"not one Kubernetes object"}},
		"a field twice": {spoil: func(b bundle) { b.resign(secretFile, b.read(secretFile)+"type: Opaque\n") },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"already set"}},
		"one object in two files": {spoil: func(b bundle) { b.resign("99-again.yaml", b.read(secretFile)) },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"Secret shop/shop-db"}},
		"several at once": {spoil: func(b bundle) { b.remove(secretFile); b.write("x", "y") }, age: 48 * time.Hour,
			target: func(t *Target) { t.ClusterUID = "" },
			status: signal.False, reason: ReasonFilesBroken, findings: []string{"is missing", "x: is not in", "identity", "48h"}},
		"no bundle": {spoil: func(b bundle) { b.remove(ManifestFile) },
			status: signal.False, reason: ReasonMissing, findings: []string{"bundle.json"}},
		"malformed": {spoil: func(b bundle) { b.write(ManifestFile, "{") },
			status: signal.False, reason: ReasonMalformed, findings: []string{"unexpected EOF"}},
		"path out of the bundle": {spoil: func(b bundle) { b.manifest(func(m *Manifest) { m.Files[0].Path = "../../etc/passwd.yaml" }) },
			status: signal.False, reason: ReasonMalformed, findings: []string{"expected a path inside the bundle"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle{t, captured(t)}
			if c.spoil != nil {
				c.spoil(b)
			}
			to, maxAge := target, 24*time.Hour
			if c.target != nil {
				c.target(&to)
			}
			if c.maxAge != 0 {
				maxAge = c.maxAge
			}
			r := VerifyDir(t.Context(), b.dir, noon.Add(c.age), to, maxAge)
			if r.Status != c.status || r.Reason != c.reason || r.Message == "" {
				t.Errorf("got %s %s %q, want %s %s", r.Status, r.Reason, r.Message, c.status, c.reason)
			}
			if len(r.Findings) != len(c.findings) {
				t.Fatalf("got %d findings, want %d: %v", len(r.Findings), len(c.findings), r.Findings)
			}
			for i, want := range c.findings {
				if !strings.Contains(r.Findings[i].String(), want) {
					t.Errorf("finding %d is %q, want %q in it", i, r.Findings[i], want)
				}
			}
		})
	}
}

func TestObjectsLeavesOutWhatDoesNotMatch(t *testing.T) {
	b := bundle{t, captured(t)}
	b.write(secretFile, strings.Replace(b.read(secretFile), "c2Vj", "c2Vk", 1))
	open, err := OpenDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	objects, findings := open.Objects(t.Context())
	if len(findings) != 1 || findings[0].File != secretFile {
		t.Errorf("findings are %v, want the changed file alone", findings)
	}
	for _, o := range objects {
		if o.GetKind() == "Secret" {
			t.Error("the changed Secret was returned")
		}
	}
	if len(objects) != len(open.Files)-1 {
		t.Errorf("%d objects of %d files", len(objects), len(open.Files))
	}
}

func TestVerifyIsUnknownWhenItIsStopped(t *testing.T) {
	b, err := OpenDir(captured(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := b.Verify(ctx, noon, target, time.Hour); r.Status != signal.Unknown || r.Reason != ReasonUnreadable {
		t.Errorf("got %s %s, want Unknown", r.Status, r.Reason)
	}
	if objects, findings := b.Objects(ctx); len(objects) != 0 || len(findings) != len(b.Files) {
		t.Errorf("%d objects and %d findings of a stopped read", len(objects), len(findings))
	}
}

// unreadable is a file system in which one file cannot be read.
type unreadable struct {
	fstest.MapFS
	name string
}

func (u unreadable) Open(name string) (fs.File, error) {
	if name == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("input/output error")}
	}
	return u.MapFS.Open(name)
}

func TestVerifyIsUnknownWhenAFileCannotBeRead(t *testing.T) {
	files := fstest.MapFS{}
	dir := captured(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files[e.Name()] = &fstest.MapFile{Data: []byte(bundle{t, dir}.read(e.Name())), Mode: 0o600}
	}
	b, err := Open(unreadable{files, secretFile})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Verify(t.Context(), noon, target, time.Hour); r.Status != signal.Unknown || r.Reason != ReasonUnreadable {
		t.Errorf("got %s %s %v, want Unknown: a file that cannot be read is not known to be wrong", r.Status, r.Reason, r.Findings)
	}
	if s := b.Verify(t.Context(), noon, target, time.Hour).Signal("bundle"); s.Status != signal.Unknown || len(s.Evidence) != 1 {
		t.Errorf("the signal is %+v", s)
	}
}

func TestManifestMistakes(t *testing.T) {
	good := bundle{t, captured(t)}.read(ManifestFile)
	for name, c := range map[string]struct{ old, new, says string }{
		"other version":  {`"fallbackchain.io/v1alpha1"`, `"fallbackchain.io/v9"`, "expected fallbackchain.io/v1alpha1 ManifestBundle"},
		"unknown field":  {`"kind":`, `"colour": "blue", "kind":`, "unknown field"},
		"no identity":    {`"clusterUID": "11111111-2222-3333-4444-555555555555"`, `"clusterUID": ""`, "clusterUID is empty"},
		"no version":     {`"v1.36.3"`, `"new"`, `kubernetesVersion is "new"`},
		"no time":        {`"2026-11-20T12:00:00Z"`, `"0001-01-01T00:00:00Z"`, "capturedAt is missing"},
		"no namespace":   {`"namespace": "shop"`, `"namespace": ""`, "namespace is empty"},
		"absolute path":  {`"00-namespace-shop.yaml"`, `"/etc/passwd.yaml"`, "inside the bundle"},
		"backslashes":    {`"00-namespace-shop.yaml"`, `"..\\..\\x.yaml"`, "inside the bundle"},
		"own manifest":   {`"00-namespace-shop.yaml"`, `"bundle.json"`, "expected a .yaml file"},
		"path twice":     {`"00-namespace-shop.yaml"`, `"02-storageclass-fast.yaml"`, "given twice"},
		"digest short":   {`"sha256": "`, `"sha256": "00`, "64 lower-case hex digits"},
		"empty file":     {`"bytes": 79`, `"bytes": 0`, "bytes is 0"},
		"huge file":      {`"bytes": 79`, `"bytes": 99999999`, "bytes is 99999999"},
		"no handle":      {`"snap-2"`, `""`, "lacks its claim"},
		"size":           {`"10Gi"`, `"much"`, `size is "much"`},
		"trailing":       {"]\n}\n", "]\n}\n{}", "something after its object"},
		"not an object":  {good, "[]", "cannot unmarshal"},
		"nothing":        {good, "", "EOF"},
		"without files":  {good, `{"apiVersion":"fallbackchain.io/v1alpha1","kind":"ManifestBundle"}`, "lists 0 files"},
		"more than fits": {good, strings.Repeat(" ", ManifestLimit+1), "expected at most"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatal("the mistake was not made")
			}
			if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q in it", err, c.says)
			}
		})
	}
}

// FuzzManifest: no input panics, whatever parses reads back the same, and names no file outside the bundle.
func FuzzManifest(f *testing.F) {
	dir := captured(f)
	data, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"apiVersion":"fallbackchain.io/v1alpha1","kind":"ManifestBundle","files":[{"path":"../a.yaml"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		text, err := m.Encode()
		if err != nil {
			return // a year that JSON cannot write
		}
		again, err := ParseManifest(text)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if second, err := again.Encode(); err != nil || string(second) != string(text) {
			t.Fatalf("it reads back as %s (%v), not %s", second, err, text)
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(file.Path) {
				t.Fatalf("%q is outside the bundle", file.Path)
			}
		}
	})
}

// FuzzDecode: no file of a bundle panics.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decode(data)
		if err != nil {
			return
		}
		Strip(o)
		if o.GetName() == "" || fileName(o) == "" || !fs.ValidPath(fileName(o)) {
			t.Fatalf("%v has the file name %q", o.Object, fileName(o))
		}
	})
}
