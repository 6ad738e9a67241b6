package kmskey_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/backup/kmskey"
	"fallbackchain.io/fallback/shared/signal"
)

func create(t *testing.T, c *kms.Client, spec types.KeySpec, usage types.KeyUsageType) string {
	t.Helper()
	out, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// counting counts what is asked of KMS, and forges. moto takes a digest for the message and hashes it once more
// (https://github.com/getmoto/moto/blob/master/moto/kms/utils.py), so that it is given the message itself: to KMS that is the same.
type counting struct {
	*kms.Client
	t           *testing.T
	signs, gets int
	forge       bool
	message     []byte
}

func (c *counting) Sign(ctx context.Context, in *kms.SignInput, o ...func(*kms.Options)) (*kms.SignOutput, error) {
	c.signs++
	if sum := sha256.Sum256(c.message); in.MessageType != types.MessageTypeDigest || !bytes.Equal(in.Message, sum[:]) {
		c.t.Errorf("%s %x, expected the digest %x", in.MessageType, in.Message, sum)
	}
	out, err := c.Client.Sign(ctx, &kms.SignInput{KeyId: in.KeyId, Message: c.message, MessageType: types.MessageTypeRaw, SigningAlgorithm: in.SigningAlgorithm}, o...)
	if err == nil && c.forge {
		out.Signature[len(out.Signature)-1] ^= 1
	}
	return out, err
}

func (c *counting) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput, o ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	c.gets++
	return c.Client.GetPublicKey(ctx, in, o...)
}

func TestKey(t *testing.T) {
	c := &counting{t: t, Client: kms.NewFromConfig(awstest.Config(awstest.Start(t)))}
	arn := create(t, c.Client, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	k := kmskey.New(c, arn)
	if k.KeyID() != arn || c.gets+c.signs > 0 {
		t.Errorf("%s, %d requests", k.KeyID(), c.gets+c.signs)
	}
	data := []byte(strings.Repeat("what is signed. ", 100))
	c.message = data
	sig, err := k.Sign(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := k.Verify(t.Context(), data, sig); err != nil {
			t.Error(err)
		}
	}
	if err := k.Verify(t.Context(), append(data, '.'), sig); !errors.Is(err, backup.ErrSignature) {
		t.Error(err)
	}
	if c.gets != 1 || c.signs != 1 {
		t.Errorf("%d gets and %d signs, expected one of each", c.gets, c.signs)
	}
	out, err := c.Verify(t.Context(), &kms.VerifyInput{KeyId: aws.String(arn), Message: data, MessageType: types.MessageTypeRaw, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256, Signature: sig})
	if err != nil || !out.SignatureValid {
		t.Errorf("KMS itself does not verify it: %+v %v", out, err)
	}
	t.Run("no such key", func(t *testing.T) {
		k := kmskey.New(c, strings.Replace(arn, "key/", "key/00", 1))
		if err := k.Verify(t.Context(), data, sig); err == nil || errors.Is(err, backup.ErrSignature) || !strings.Contains(err.Error(), k.KeyID()) {
			t.Error(err)
		}
		if _, err := k.Sign(t.Context(), data); err == nil || !strings.Contains(err.Error(), k.KeyID()) {
			t.Error(err)
		}
	})
	t.Run("forged", func(t *testing.T) {
		c.forge = true
		defer func() { c.forge = false }()
		if _, err := k.Sign(t.Context(), data); !errors.Is(err, backup.ErrSignature) {
			t.Error(err)
		}
	})
	for name, spec := range map[string]types.KeySpec{"RSA": types.KeySpecRsa2048, "another curve": types.KeySpecEccNistP384} {
		t.Run(name, func(t *testing.T) {
			err := kmskey.New(c, create(t, c.Client, spec, types.KeyUsageTypeSignVerify)).Verify(t.Context(), data, sig)
			if err == nil || errors.Is(err, backup.ErrSignature) || !strings.Contains(err.Error(), "P256") {
				t.Error(err)
			}
		})
	}
}

// local is KMS as its documentation says, with a key in memory.
type local struct{ key *ecdsa.PrivateKey }

func (l local) Sign(_ context.Context, in *kms.SignInput, _ ...func(*kms.Options)) (*kms.SignOutput, error) {
	if in.MessageType != types.MessageTypeDigest || len(in.Message) != sha256.Size || in.SigningAlgorithm != types.SigningAlgorithmSpecEcdsaSha256 {
		return nil, errors.New("ValidationException")
	}
	sig, err := ecdsa.SignASN1(rand.Reader, l.key, in.Message)
	return &kms.SignOutput{Signature: sig}, err
}

func (l local) GetPublicKey(context.Context, *kms.GetPublicKeyInput, ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	der, err := x509.MarshalPKIXPublicKey(&l.key.PublicKey)
	return &kms.GetPublicKeyOutput{PublicKey: der, KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify, SigningAlgorithms: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha256}}, err
}

func newLocal(t *testing.T) local {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return local{k}
}

func TestSeal(t *testing.T) {
	const arn = "arn:aws:kms:eu-west-1:123456789012:alias/backups"
	s, api := backuptest.NewStore(backuptest.Spec{}), newLocal(t)
	exp := backup.Expectation{Namespace: "shop", StatefulSet: "db", Now: backuptest.Now()}
	v, err := backup.Seal(t.Context(), s, "b1", backuptest.Cluster, exp, kmskey.New(api, arn))
	if err != nil || v.Integrity != signal.True {
		t.Fatalf("%+v %v", v, err)
	}
	exp.Key = kmskey.New(api, arn)
	if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.True || v.Status != signal.True {
		t.Errorf("%+v %v", v, err)
	}
	exp.Key = kmskey.New(newLocal(t), arn)
	if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.False || v.Status != signal.False {
		t.Errorf("another key: %+v %v", v, err)
	}
}
