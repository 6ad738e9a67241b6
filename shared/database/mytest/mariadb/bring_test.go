package mariadb

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// jar makes an archive of these files.
func jar(t *testing.T, files map[string]string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), artifactFile)
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	err := unpack(jar(t, map[string]string{artifactRoot + "bin/mariadbd": "server", artifactRoot + "bin/mariadb": "client", artifactRoot + "share/a.sql": "sql",
		artifactRoot + "share/english/errmsg.sys": "messages", artifactRoot + "share/../../escaped.sql": "out", artifactRoot + "share/mroonga/COPYING": "no",
		"README.md": "no"}), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = filepath.WalkDir(filepath.Dir(dir), func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			got = append(got, rel)
		}
		return err
	})
	if want := "bin/mariadbd share/a.sql share/english/errmsg.sys"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("unpacked %q (%v), want %q", got, err, want)
	}
	if !complete(dir) {
		t.Error("the server cannot be run")
	}
	placed := filepath.Join(t.TempDir(), "placed")
	if err := place(dir, placed); err != nil || !complete(placed) {
		t.Errorf("placed: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(placed, "share", "a.sql")); err != nil || string(b) != "sql" {
		t.Errorf("placed file holds %q (%v)", b, err)
	}
}

func TestUnpackWithoutAServer(t *testing.T) {
	if err := unpack(jar(t, map[string]string{artifactRoot + "share/a.sql": "sql"}), filepath.Join(t.TempDir(), "files")); err == nil {
		t.Error("an archive without a server was taken")
	}
}

func TestVerify(t *testing.T) {
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("content"))
	if err := verify(p, hex.EncodeToString(sum[:])); err != nil {
		t.Error(err)
	}
	if err := verify(p, artifactSHA256); err == nil || !strings.Contains(err.Error(), artifactSHA256) {
		t.Errorf("another file was taken for the artifact: %v", err)
	}
}
