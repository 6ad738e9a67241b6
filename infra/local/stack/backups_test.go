package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestBackupKeysAreMadeOnce(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	first, err := writeBackupKeys(l)
	if err != nil {
		t.Fatal(err)
	}
	signing, err := os.ReadFile(l.SigningKey())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := writeBackupKeys(l); err != nil || again != first {
		t.Errorf("a second time %+v, %v; expected the same credentials", again, err)
	}
	if again, err := os.ReadFile(l.SigningKey()); err != nil || string(again) != string(signing) {
		t.Errorf("the signing key was made anew (%v)", err)
	}
	block, _ := pem.Decode(signing)
	if block == nil || block.Type != "PRIVATE KEY" {
		t.Fatalf("signing key: %q is not PKCS #8 in PEM", signing)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if ec, is := k.(*ecdsa.PrivateKey); err != nil || !is || ec.Curve != elliptic.P256() {
		t.Errorf("signing key %T, %v; expected an EC key on P-256", k, err)
	}
	for _, f := range []string{l.S3Credentials(), l.SigningKey()} {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; only the owner may read it", f, st.Mode(), err)
		}
	}
	other, err := writeBackupKeys(Layout{Dir: t.TempDir()})
	if err != nil || other.access == first.access || other.secret == first.secret {
		t.Errorf("another stack has the same credentials (%v)", err)
	}
}

func TestBackupsOfAStack(t *testing.T) {
	l := Layout{Dir: "/state"}
	b := backups(l, record{Name: "east", Ports: map[string]int{portS3: 7070}})
	if b.Endpoint != "http://127.0.0.1:7070" || b.Location() != "s3://velero/east" || b.CredentialsFile != "/state/s3/credentials" || b.Region != Region {
		t.Errorf("%+v", b)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(key{"a", "b"}.file())
	f.Add("[default]\naws_access_key_id=\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseKey(text)
		if (err == nil) != (k.access != "" && k.secret != "") {
			t.Fatalf("%q: %+v, %v", text, k, err)
		}
		if err != nil {
			return
		}
		if again, err := parseKey(k.file()); err != nil || again != k {
			t.Errorf("%+v is read back as %+v, %v", k, again, err)
		}
	})
}

func TestAvailable(t *testing.T) {
	for _, c := range []struct {
		name, phase, message string
		want                 bool
		lacks                string
	}{
		{name: "found", phase: "Available", want: true},
		{name: "not looked for", lacks: "not looked for it yet"},
		{name: "not found", phase: "Unavailable", message: "no such bucket", lacks: "Unavailable: no such bucket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"phase": c.phase, "message": c.message}}}
			if ok, lacks := available(u); ok != c.want || (!ok && !strings.Contains(lacks, c.lacks)) {
				t.Errorf("%t, %q; expected %t, %q", ok, lacks, c.want, c.lacks)
			}
		})
	}
}

// TestVeleroIgnoresTheCaller: credentials in the environment of whoever starts the stack are not Velero's.
func TestVeleroIgnoresTheCaller(t *testing.T) {
	env := strings.Join(veleroEnv(Layout{Dir: "/state"}), "\n") + "\n"
	for _, want := range []string{"AWS_ACCESS_KEY_ID=\n", "AWS_PROFILE=\n", "AWS_SHARED_CREDENTIALS_FILE=/state/s3/credentials\n", "HOME=/state/velero\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment lacks %q", want)
		}
	}
}
