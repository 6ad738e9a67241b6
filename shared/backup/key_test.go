package backup_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/backup"
)

func pemFile(t *testing.T, blocks ...*pem.Block) string {
	t.Helper()
	var b []byte
	for _, block := range blocks {
		b = append(b, pem.EncodeToMemory(block)...)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestOpenKey(t *testing.T) {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	large := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := must(x509.MarshalPKCS8PrivateKey(k))(t)
	sec1 := must(x509.MarshalECPrivateKey(k))(t)
	public := must(x509.MarshalPKIXPublicKey(&k.PublicKey))(t)
	files := map[string]struct {
		path    string
		private bool
		err     string
	}{
		"PKCS #8":        {path: pemFile(t, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), private: true},
		"SEC 1":          {path: pemFile(t, &pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), private: true},
		"public":         {path: pemFile(t, &pem.Block{Type: "PUBLIC KEY", Bytes: public})},
		"another curve":  {path: pemFile(t, &pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(large))(t)}), err: "P-256"},
		"public, curve":  {path: pemFile(t, &pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&large.PublicKey))(t)}), err: "P-256"},
		"another kind":   {path: pemFile(t, &pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ed))(t)}), err: "P-256"},
		"a certificate":  {path: pemFile(t, &pem.Block{Type: "CERTIFICATE", Bytes: pkcs8}), err: "PUBLIC KEY in PEM"},
		"nonsense":       {path: pemFile(t, &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), err: "PRIVATE KEY: "},
		"no file":        {path: "nowhere.pem", err: "no such file"},
		"a directory":    {path: t.TempDir(), err: "expected a PEM file"},
		"an empty file ": {path: pemFile(t), err: "in PEM"},
	}
	data := []byte("what is signed")
	sig := must(must(backup.OpenSigner(files["SEC 1"].path))(t).Sign(t.Context(), data))(t)
	ids := map[string]bool{}
	for name, c := range files {
		t.Run(name, func(t *testing.T) {
			v, err := backup.OpenKey(c.path)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, expected %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ids[v.KeyID()] = true
			if err := v.Verify(t.Context(), data, sig); err != nil {
				t.Error(err)
			}
			for _, wrong := range [][]byte{nil, sig[:len(sig)-1], append([]byte{0}, sig...)} {
				if err := v.Verify(t.Context(), data, wrong); !errors.Is(err, backup.ErrSignature) {
					t.Errorf("%x: %v", wrong, err)
				}
			}
			if err := v.Verify(t.Context(), append(data, '.'), sig); !errors.Is(err, backup.ErrSignature) {
				t.Error(err)
			}
			if _, ok := v.(backup.Signer); ok != c.private {
				t.Errorf("is a Signer: %v", ok)
			}
			if _, err := backup.OpenSigner(c.path); (err == nil) != c.private {
				t.Error(err)
			}
		})
	}
	if len(ids) != 1 {
		t.Errorf("one key has the IDs %v", ids)
	}
}
