package backup

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// ErrSignature tells that a signature was verified, and is not the key's of these bytes.
var ErrSignature = errors.New("the signature is not the key's")

// PublicKey verifies with the public half of a key.
type PublicKey struct {
	id  string
	key *ecdsa.PublicKey
}

// NewPublicKey takes a key on P-256. An empty id becomes the key's fingerprint.
func NewPublicKey(id string, key crypto.PublicKey) (*PublicKey, error) {
	k, ok := key.(*ecdsa.PublicKey)
	if !ok || k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("is a %T, expected an EC key on P-256", key)
	}
	if id == "" {
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(der)
		id = "sha256:" + hex.EncodeToString(sum[:])
	}
	return &PublicKey{id, k}, nil
}

// KeyID is the fingerprint "sha256:<hex>" of the public key in DER, or what it was made with.
func (k *PublicKey) KeyID() string { return k.id }

// Verify returns ErrSignature when the signature is not the key's.
func (k *PublicKey) Verify(_ context.Context, data, signature []byte) error {
	sum := sha256.Sum256(data)
	if !ecdsa.VerifyASN1(k.key, sum[:], signature) {
		return ErrSignature
	}
	return nil
}

// privateKey signs with a key in memory.
type privateKey struct {
	*PublicKey
	key *ecdsa.PrivateKey
}

func (k privateKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	return ecdsa.SignASN1(rand.Reader, k.key, sum[:])
}

// NewSigner takes a private key on P-256.
func NewSigner(key *ecdsa.PrivateKey) (Signer, error) {
	p, err := NewPublicKey("", &key.PublicKey)
	if err != nil {
		return nil, err
	}
	return privateKey{p, key}, nil
}

// keyLimit bounds a PEM file of one key.
const keyLimit = 64 << 10

// OpenKey reads a key on P-256 from a PEM file: a private one (PKCS#8 or SEC 1), which is a Signer as well, or a public one (PKIX).
func OpenKey(path string) (Verifier, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > keyLimit {
		return nil, fmt.Errorf("key %s: expected a PEM file of at most %d bytes", path, keyLimit)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	k, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return k, nil
}

// OpenSigner is OpenKey of a private key.
func OpenSigner(path string) (Signer, error) {
	k, err := OpenKey(path)
	if err != nil {
		return nil, err
	}
	s, ok := k.(Signer)
	if !ok {
		return nil, fmt.Errorf("key %s: is a public key, expected the private one to sign with", path)
	}
	return s, nil
}

// ParseKey reads the key of a PEM file; what is in the file beside it (EC PARAMETERS) is passed over.
func ParseKey(data []byte) (Verifier, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", block.Type, err)
		}
		if private, ok := key.(*ecdsa.PrivateKey); ok {
			return NewSigner(private)
		}
		if private, ok := key.(crypto.Signer); ok {
			return nil, fmt.Errorf("is a %T, expected an EC key on P-256", private)
		}
		return NewPublicKey("", key)
	}
	return nil, errors.New("has no PRIVATE KEY, EC PRIVATE KEY or PUBLIC KEY in PEM")
}
