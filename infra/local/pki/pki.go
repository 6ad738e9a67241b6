// Package pki makes the keys, certificates and kubeconfigs of a local control plane, with the standard library only. What is in
// the directory already and still good is kept, so that a stack started again has the same authority.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	validity = 10 * 365 * 24 * time.Hour
	// renewBefore is the rest of validity below which a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
)

// Authority is a certificate authority and the directory its files are in.
type Authority struct {
	dir  string
	now  func() time.Time
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// Identity is the subject of a client certificate: the API server takes the user from the common name and the groups from the
// organizations (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates).
type Identity struct {
	User   string
	Groups []string
}

// OpenAuthority reads the authority called name from dir, or makes it. now is the clock.
func OpenAuthority(dir, name string, now func() time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, now: now, name: name}
	cert, key, certPEM, err := a.read(name)
	if err == nil && cert.IsCA && a.fresh(cert) {
		a.cert, a.key, a.pem = cert, key, certPEM
		return a, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "local-" + name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a.cert, a.key, a.pem, err = a.issue(name, template, nil)
	return a, err
}

// Server makes or keeps the files name.crt and name.key for a server reached at the names and addresses given. The certificate
// is good for clients as well, because etcd uses its own as a client.
func (a *Authority) Server(name string, dns []string, ips ...net.IP) error {
	_, _, err := a.leaf(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: dns, IPAddresses: ips,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return err
}

// Client makes or keeps the files name.crt and name.key for a client.
func (a *Authority) Client(name string, id Identity) (certPEM, keyPEM []byte, err error) {
	return a.leaf(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.User, Organization: id.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return a.pem }

// SigningKey makes or keeps name.key, a key without a certificate: service account tokens are signed with it.
func SigningKey(dir, name string) error {
	path := filepath.Join(dir, name+".key")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(path, key)
}

// leaf keeps a certificate on disk when it has the same subject and names, was signed by this authority and is still valid.
func (a *Authority) leaf(name string, want *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	have, _, _, err := a.read(name)
	switch {
	case err == nil && have.CheckSignatureFrom(a.cert) == nil && a.fresh(have) && sameNames(have, want):
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if _, _, _, err := a.issue(name, want, a); err != nil {
			return nil, nil, err
		}
	default:
		return nil, nil, err
	}
	if certPEM, err = os.ReadFile(a.path(name, "crt")); err != nil {
		return nil, nil, err
	}
	keyPEM, err = os.ReadFile(a.path(name, "key"))
	return certPEM, keyPEM, err
}

func (a *Authority) path(name, ext string) string { return filepath.Join(a.dir, name+"."+ext) }

func (a *Authority) fresh(c *x509.Certificate) bool {
	now := a.now()
	return !now.Before(c.NotBefore) && now.Add(renewBefore).Before(c.NotAfter)
}

// issue makes a key and a certificate, signed by the parent or, without one, by itself, and writes both.
func (a *Authority) issue(name string, t *x509.Certificate, parent *Authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, nil, err
	}
	t.NotBefore, t.NotAfter = a.now().Add(-time.Hour), a.now().Add(validity)
	signer, signKey := t, key
	if parent != nil {
		signer, signKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, signer, &key.PublicKey, signKey)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The key is written last: a crash between the two leaves a pair that does not match, which read refuses.
	if err := write(a.path(name, "crt"), certPEM); err != nil {
		return nil, nil, nil, err
	}
	return cert, key, certPEM, writeKey(a.path(name, "key"), key)
}

// read reads a pair. fs.ErrNotExist means that it is not there or not whole, and is to be made.
func (a *Authority) read(name string) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	certPEM, err := os.ReadFile(a.path(name, "crt"))
	if err != nil {
		return nil, nil, nil, err
	}
	keyPEM, err := os.ReadFile(a.path(name, "key"))
	if err != nil {
		return nil, nil, nil, err
	}
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return nil, nil, nil, fmt.Errorf("%s is not PEM: %w", a.path(name, "*"), fs.ErrNotExist)
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w: %w", a.path(name, "crt"), err, fs.ErrNotExist)
	}
	key, err := x509.ParseECPrivateKey(k.Bytes)
	if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, nil, fmt.Errorf("%s does not belong to its certificate: %w", a.path(name, "key"), fs.ErrNotExist)
	}
	return cert, key, certPEM, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// write replaces a file as a whole; only the owner may read it.
func write(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
