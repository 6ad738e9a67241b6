package backup_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"fallbackchain.io/fallback/shared/backup"
)

func signer(t testing.TB) backup.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := backup.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
