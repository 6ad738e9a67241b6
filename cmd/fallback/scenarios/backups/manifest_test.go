package backups

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/run"
)

// TestManifest: a manifest that is not the key's, or that what is there does not equal, stops a drill.
func TestManifest(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	check := w.guard(t)
	manifest := "backups/" + name + "/" + backup.ManifestFile
	signature := "backups/" + name + "/" + backup.SignatureFile
	results := "backups/" + name + "/" + name + "-results.gz"
	for _, tc := range []struct {
		name   string
		change func(*testing.T) (repair func())
		edit   func(string) string
		key    string
		says   string
	}{
		{"signed by another key", func(t *testing.T) func() {
			return w.put(t, signature, signedByAnother(t, w.bucket(filepath.FromSlash(manifest))))
		}, nil, signature, backup.ReasonSignature},
		{"altered", func(t *testing.T) func() {
			data, err := os.ReadFile(w.bucket(filepath.FromSlash(manifest)))
			if err != nil {
				t.Fatal(err)
			}
			return w.put(t, manifest, bytes.Replace(data, []byte(`"size": `), []byte(`"size": 1`), 1))
		}, nil, signature, backup.ReasonSignature},
		{"an object written again, well-formed", func(t *testing.T) func() { return w.put(t, results, zip(t, "{}")) }, nil, results, backup.ReasonDigest},
		{"missing, and required", func(t *testing.T) func() {
			a, b := w.hide(t, manifest), w.hide(t, signature)
			return func() { a(); b() }
		}, replaced("integrity: {", "integrity: {manifest: Required, "), manifest, backup.ReasonManifestMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			repair := tc.change(t)
			edits := []func(string) string{named(name)}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			res := w.Start(t, run.Drill, w.with(t, edits...))
			repair()
			w.refused(t, res)
			stopped(t, res.Run.Backup, tc.key)
			says(t, res, tc.key)
			if b := res.Run.Backup; b.Reason != tc.says || (tc.edit == nil && b.Integrity != "False") {
				t.Errorf("reason %s, integrity %s; want %s", b.Reason, b.Integrity, tc.says)
			}
			w.verifies(t, name)
		})
	}
	check()
}

func signedByAnother(t *testing.T, path string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := backup.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func zip(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := strings.NewReader(text).WriteTo(z)
	if cerr := z.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return b.Bytes()
}

// put writes an object as anybody with the rights could: as a new version. It is deleted again by what is returned.
func (w *world) put(t *testing.T, key string, data []byte) (repair func()) {
	t.Helper()
	place := w.Stack.Backups()
	c, err := place.S3(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	full := place.Prefix + "/" + key
	out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &place.Bucket, Key: &full, Body: bytes.NewReader(data)})
	if err != nil {
		t.Fatal(err)
	}
	if out.VersionId == nil {
		t.Fatal("the bucket keeps no versions")
	}
	ctx := context.WithoutCancel(t.Context())
	return once(t, func() error {
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &place.Bucket, Key: &full, VersionId: out.VersionId})
		return err
	})
}
