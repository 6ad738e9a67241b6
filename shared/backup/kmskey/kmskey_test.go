package kmskey_test

import (
	"context"
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

// counting counts what is asked of KMS, and forges.
type counting struct {
	*kms.Client
	signs, gets int
	forge       bool
}

func (c *counting) Sign(ctx context.Context, in *kms.SignInput, o ...func(*kms.Options)) (*kms.SignOutput, error) {
	c.signs++
	out, err := c.Client.Sign(ctx, in, o...)
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
	c := &counting{Client: kms.NewFromConfig(awstest.Config(awstest.Start(t)))}
	arn := create(t, c.Client, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	k := kmskey.New(c, arn)
	if k.KeyID() != arn || c.gets+c.signs > 0 {
		t.Errorf("%s, %d requests", k.KeyID(), c.gets+c.signs)
	}
	data := []byte(strings.Repeat("longer than the message that KMS signs itself. ", 200))
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
	out, err := c.Client.Verify(t.Context(), &kms.VerifyInput{KeyId: aws.String(arn), Message: data[:100], MessageType: types.MessageTypeRaw, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256, Signature: mustSign(t, k, data[:100])})
	if err != nil || !out.SignatureValid {
		t.Errorf("KMS itself does not verify it: %+v %v", out, err)
	}

	t.Run("seals", func(t *testing.T) {
		s := backuptest.NewStore(backuptest.Spec{})
		exp := backup.Expectation{Namespace: "shop", StatefulSet: "db", Now: backuptest.Now()}
		v, err := backup.Seal(t.Context(), s, "b1", backuptest.Cluster, exp, k)
		if err != nil || v.Integrity != signal.True {
			t.Fatalf("%+v %v", v, err)
		}
		exp.Key = kmskey.New(c, arn)
		if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.True {
			t.Errorf("%+v %v", v, err)
		}
		exp.Key = kmskey.New(c, create(t, c.Client, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify))
		if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.False {
			t.Errorf("%+v %v", v, err)
		}
		exp.Key = kmskey.New(c, strings.Replace(arn, "key/", "key/00", 1))
		if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.Unknown || v.Status != signal.Unknown {
			t.Errorf("a key that is not there: %+v %v", v, err)
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

func mustSign(t *testing.T, k *kmskey.Key, data []byte) []byte {
	t.Helper()
	sig, err := k.Sign(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}
