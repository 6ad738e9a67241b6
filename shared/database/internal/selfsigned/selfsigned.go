// Package selfsigned makes a certificate that nobody trusts, for a database server that is to offer TLS.
package selfsigned

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"time"
)

// Certificate says what is written.
type Certificate struct {
	// Name is the server's, which it is for.
	Name string
	// From is when it begins to hold, but for an hour that clocks may be apart; Life is for how long.
	From time.Time
	Life time.Duration
}

// Write writes the certificate and its key as PEM files that only their owner reads.
func (c Certificate) Write(certificate, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: c.Name}, DNSNames: []string{c.Name},
		NotBefore: c.From.Add(-time.Hour), NotAfter: c.From.Add(c.Life)}
	crt, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &private.PublicKey, private)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
}
