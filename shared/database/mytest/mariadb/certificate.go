package mariadb

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
	"path/filepath"
	"time"
)

// Files of a directory that WriteCertificate filled.
const (
	CertificateFile = "server-cert.pem"
	KeyFile         = "server-key.pem"
)

// certificateLife is long: the server's volume may be restored any time.
const certificateLife = 10 * 365 * 24 * time.Hour

// WriteCertificate makes a certificate that nobody trusts. Servers from 11.4 on make one themselves, older ones do not
// (https://mariadb.com/docs/server/security/encryption/data-in-transit-encryption/secure-connections-overview).
func WriteCertificate(dir string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mariadb"}, DNSNames: []string{"mariadb"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife)}
	crt, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, CertificateFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt}), 0o600),
		os.WriteFile(filepath.Join(dir, KeyFile), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
}
