// Package kmskey signs and verifies backup manifests with an asymmetric key of AWS KMS (ECC_NIST_P256, SIGN_VERIFY). It is apart from
// shared/backup so that only what uses KMS links its client.
package kmskey

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"fallbackchain.io/fallback/shared/backup"
)

// API is what is asked of KMS; *kms.Client is one. The key's policy must allow kms:GetPublicKey to verify, and kms:Sign to sign.
type API interface {
	Sign(context.Context, *kms.SignInput, ...func(*kms.Options)) (*kms.SignOutput, error)
	GetPublicKey(context.Context, *kms.GetPublicKeyInput, ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error)
}

// Key is a backup.Signer.
type Key struct {
	api API
	arn string

	mu     sync.Mutex
	public *backup.PublicKey
}

var _ backup.Signer = (*Key)(nil)

// New returns the key of an ARN (a key's or an alias's). Nothing is sent.
func New(api API, arn string) *Key { return &Key{api: api, arn: arn} }

// KeyID is the ARN.
func (k *Key) KeyID() string { return k.arn }

// Verify verifies here, with the public key that KMS gives out: it is asked for once. Whoever sealed may have had a private key
// that is disabled since; what it signed stays verifiable.
func (k *Key) Verify(ctx context.Context, data, signature []byte) error {
	p, err := k.publicKey(ctx)
	if err != nil {
		return err
	}
	return p.Verify(ctx, data, signature)
}

// Sign has KMS sign the digest: a message itself could have 4096 bytes at most
// (https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html). The signature is DER, and is verified before it is returned.
func (k *Key) Sign(ctx context.Context, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	out, err := k.api.Sign(ctx, &kms.SignInput{KeyId: aws.String(k.arn), Message: sum[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	if err != nil {
		return nil, fmt.Errorf("sign with the KMS key %s: %w", k.arn, err)
	}
	if err := k.Verify(ctx, data, out.Signature); err != nil {
		return nil, fmt.Errorf("sign with the KMS key %s: what it signed does not verify: %w", k.arn, err)
	}
	return out.Signature, nil
}

func (k *Key) publicKey(ctx context.Context) (*backup.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.public != nil {
		return k.public, nil
	}
	out, err := k.api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(k.arn)})
	if err != nil {
		return nil, fmt.Errorf("get the public half of the KMS key %s: %w", k.arn, err)
	}
	if out.KeyUsage != types.KeyUsageTypeSignVerify || !slices.Contains(out.SigningAlgorithms, types.SigningAlgorithmSpecEcdsaSha256) {
		return nil, fmt.Errorf("the KMS key %s is %s for %s, expected ECC_NIST_P256 for SIGN_VERIFY", k.arn, out.KeySpec, out.KeyUsage)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("the KMS key %s: %w", k.arn, err)
	}
	p, err := backup.NewPublicKey(k.arn, parsed)
	if err != nil {
		return nil, fmt.Errorf("the KMS key %s: %w", k.arn, err)
	}
	k.public = p
	return p, nil
}
