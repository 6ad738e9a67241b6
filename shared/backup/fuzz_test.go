package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// realObject is an object of the backup in testdata, uncompressed.
func realObject(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile("testdata/velero-1.18.3/backups/b1/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return data
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	if data, err = io.ReadAll(r); err != nil {
		tb.Fatal(err)
	}
	return data
}

// seeds are a real document, cut ones and nonsense.
func seeds(f *testing.F, name string) {
	f.Helper()
	d := realObject(f, name)
	f.Add(d)
	f.Add(d[:len(d)/2])
	for _, s := range []string{"", "null", "[]", "{}", "[null]", `[{"spec":null}]`, `{"a":null}`, "[1]", "[[", `{"status":{"startTimestamp":"x"}}`, `[{}] x`} {
		f.Add([]byte(s))
	}
}

// FuzzMetadata: whatever velero-backup.json holds, it is read or refused, and what is read can be summed up.
func FuzzMetadata(f *testing.F) {
	seeds(f, "velero-backup.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseMetadata(bytes.NewReader(data))
		if err != nil {
			return
		}
		if !json.Valid(data) || d.Kind != "Backup" {
			t.Fatalf("read %q", data)
		}
		s := d.summary("b1")
		_ = s.At()
		_ = includes(d.Spec.IncludedNamespaces, d.Spec.ExcludedNamespaces, "shop")
	})
}

func FuzzResourceList(f *testing.F) {
	seeds(f, "b1-resource-list.json.gz")
	f.Fuzz(func(t *testing.T, data []byte) {
		twice := 0
		l, err := parseResourceList(bytes.NewReader(data), func(string, string) { twice++ })
		if err != nil {
			return
		}
		var want map[string][]string
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("read %q, which encoding/json does not: %v", data, err)
		}
		n := 0
		for _, names := range want {
			n += len(names)
		}
		if have := l.len() + twice; have < n { // a kind that is given twice counts twice here
			t.Fatalf("%d names of %d: %q", have, n, data)
		}
	})
}

func FuzzVolumeInfo(f *testing.F) {
	seeds(f, "b1-volumeinfo.json.gz")
	f.Fuzz(func(t *testing.T, data []byte) {
		err := eachElement(bytes.NewReader(data), func(i volumeInfo) {
			v := i.volume()
			if i.trouble() == "" && !i.Skipped && (v.Handle == "" || v.Handle == unknownValue || v.Method == "") {
				t.Fatalf("nothing is wrong with %+v", i)
			}
			_, _ = i.String(), i.takenAt()
		})
		if err == nil && !json.Valid(data) {
			t.Fatalf("read %q", data)
		}
	})
}

func FuzzItemOperations(f *testing.F) {
	seeds(f, "b1-itemoperations.json.gz")
	f.Fuzz(func(t *testing.T, data []byte) {
		v := &verification{verdict: newVerdict(), name: "b1", added: map[item]bool{}}
		if err := v.itemOperations(partOf("b1", keyOf("b1", kindItemOperations)), bytes.NewReader(data)); err == nil && !json.Valid(data) {
			t.Fatalf("read %q", data)
		}
	})
}

// FuzzOthers: the remaining lists.
func FuzzOthers(f *testing.F) {
	for _, n := range []string{"b1-podvolumebackups.json.gz", "b1-volumesnapshots.json.gz", "b1-results.gz"} {
		seeds(f, n)
	}
	f.Add([]byte(`[{"metadata":{"name":"p"},"spec":{"volume":"data","pod":{"name":"db-0","namespace":"shop"}},"status":{"phase":"Failed","readyToUse":true}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v := &verification{verdict: newVerdict(), name: "b1", added: map[item]bool{}}
		for k, use := range map[kind]func(part, io.Reader) error{kindPodVolumeBackups: v.podVolumeBackups, kindVolumeSnapshots: v.volumeSnapshots, kindCSISnapshots: v.csiObjects, kindResults: v.results} {
			if err := use(partOf("b1", keyOf("b1", k)), bytes.NewReader(data)); err == nil && !json.Valid(data) {
				t.Fatalf("read %q", data)
			}
		}
	})
}

type counter struct{ objects, odds, formats int }

func (c *counter) format(string)       { c.formats++ }
func (c *counter) object(item, []byte) { c.objects++ }
func (c *counter) odd(string)          { c.odds++ }

// FuzzTar: a walk that ends without an error saw every entry that archive/tar does.
func FuzzTar(f *testing.F) {
	d := realObject(f, "b1.tar.gz")
	small := d[:8<<10]
	f.Add(small)
	f.Add(append(bytes.Clone(small[:4096]), make([]byte, 1024)...))
	for _, h := range []tar.Header{{Name: "resources/pods/namespaces/a/b.json", Typeflag: tar.TypeReg}, {Name: "resources/../../x", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "resources/" + strings.Repeat("x", 300) + "/cluster/a.json", Typeflag: tar.TypeReg}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &counter{}
		if err := walkTar(bytes.NewReader(data), c); err != nil {
			return
		}
		n := 0
		for r := tar.NewReader(bytes.NewReader(data)); ; n++ {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		if c.objects+c.odds+c.formats != n {
			t.Fatalf("%+v of %d entries", c, n)
		}
		if len(data) < endOfTar || len(bytes.Trim(data[len(data)-endOfTar:], "\x00")) > 0 {
			t.Fatal("an archive without an end was taken")
		}
	})
}

func FuzzItem(f *testing.F) {
	for _, s := range []string{"resources/pods/namespaces/a/b.json", "resources/nodes/cluster/n.json", "resources/deployments.apps/v1-preferredversion/namespaces/a/b.json", "resources/x/-preferredversion/cluster/a.json", "metadata/version", "resources/a/namespaces/b.json"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		it, err := parseItem(path)
		if err != nil {
			return
		}
		version := it.version
		if it.preferred {
			version += preferredSuffix
		}
		if version != "" {
			version += "/"
		}
		scope := "cluster/"
		if it.namespace != "" {
			scope = "namespaces/" + it.namespace + "/"
		}
		if back := "resources/" + it.resource + "/" + version + scope + it.name + ".json"; back != path {
			t.Fatalf("%q became %q", path, back)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"fallbackchain.io/v1alpha1","kind":"BackupManifest","backup":"b1","sealedAt":"2026-09-01T12:00:00Z","keyID":"k","objects":[{"key":"backups/b1/b1.tar.gz","size":1,"sha256":"` + strings.Repeat("0a", 32) + `"}]}`))
	f.Add([]byte(`{"apiVersion":"fallbackchain.io/v1alpha1","kind":"BackupManifest","backup":"..","objects":[{"key":"backups/b1/../x","size":-1}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Fatalf("%v of %s", err, again)
		}
		for _, o := range m.Objects {
			if !strings.HasPrefix(o.Key, dir(m.Backup)) || len(o.SHA256) != 64 || o.Size < 0 {
				t.Fatalf("%+v", o)
			}
		}
	})
}

// FuzzKey: a PEM file is a key or refused.
func FuzzKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := ParseKey(data); (k == nil) != (err != nil) {
			t.Fatalf("%v %v", k, err)
		}
	})
}
