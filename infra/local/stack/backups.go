package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// Region is what the object store calls its region.
	Region = "eu-west-1"
	// Bucket takes Velero's backups, below the stack's name.
	Bucket = "velero"
)

// Backups tells where a stack's Velero keeps its backups, and with what they are reached and signed.
type Backups struct {
	// Endpoint is the URL of the S3 server, which is addressed by path.
	Endpoint string
	Region   string
	Bucket   string
	Prefix   string
	// CredentialsFile is in the format of AWS's shared credentials file, profile default.
	CredentialsFile string
	// SigningKey is a PEM file with the EC private key on P-256 that backup manifests are signed with.
	SigningKey string
}

// Location is s3://bucket/prefix.
func (b Backups) Location() string { return "s3://" + b.Bucket + "/" + b.Prefix }

// S3Credentials is the file with the S3 server's only credentials, in the format of AWS's shared credentials file.
func (l Layout) S3Credentials() string { return l.in("s3", "credentials") }

// SigningKey is a PEM file (PKCS #8) with the EC private key on P-256 that the stack's backup manifests are signed with.
func (l Layout) SigningKey() string { return l.in("pki", "backup-signing.key") }

// Backups tells where the stack's backups are. ErrNoStack: there is no stack. The port is that of the last start.
func (l Layout) Backups() (Backups, error) {
	r, err := readRecord(l)
	if err != nil {
		return Backups{}, err
	}
	return backups(l, r), nil
}

func backups(l Layout, r record) Backups {
	return Backups{
		Endpoint: fmt.Sprintf("http://127.0.0.1:%d", r.Ports[portS3]), Region: Region, Bucket: Bucket, Prefix: r.Name,
		CredentialsFile: l.S3Credentials(), SigningKey: l.SigningKey(),
	}
}

// Backups tells where the stack's backups are.
func (s *Stack) Backups() Backups { return backups(s.layout, s.record) }

// S3Endpoint is the URL of the stack's S3 server.
func (s *Stack) S3Endpoint() string { return s.Backups().Endpoint }

// Backups tells where the stack's backups are.
func (c *Client) Backups() (Backups, error) { return c.layout.Backups() }

// S3 returns a client for the stack's S3 server, which must run to answer.
func (b Backups) S3(ctx context.Context) (*s3.Client, error) {
	cfg, err := config.LoadSharedConfigProfile(ctx, config.DefaultSharedConfigProfile, func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{b.CredentialsFile}, []string{}
	})
	if err != nil {
		return nil, fmt.Errorf("credentials of the S3 server: %w", err)
	}
	c := cfg.Credentials
	return s3.New(s3.Options{
		BaseEndpoint: &b.Endpoint, Region: b.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
		HTTPClient:  &http.Client{Timeout: 30 * time.Second},
	}), nil
}

// makeBucket makes the bucket with versioning, once, and reads back that it has it.
func (b Backups) makeBucket(ctx context.Context) error {
	c, err := b.S3(ctx)
	if err != nil {
		return err
	}
	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b.Bucket,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(b.Region)}})
	var owned *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &owned) {
		return fmt.Errorf("make the bucket %s: %w", b.Bucket, err)
	}
	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &b.Bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		return fmt.Errorf("keep versions in the bucket %s: %w", b.Bucket, err)
	}
	v, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: aws.String(b.Bucket)})
	if err != nil {
		return fmt.Errorf("keep versions in the bucket %s: %w", b.Bucket, err)
	}
	if v.Status != types.BucketVersioningStatusEnabled {
		return fmt.Errorf("bucket %s: versioning is %q, expected %q", b.Bucket, v.Status, types.BucketVersioningStatusEnabled)
	}
	return nil
}

// key is a pair that opens the S3 server.
type key struct{ access, secret string }

// writeBackupKeys makes what is missing of the S3 credentials and the signing key, and returns the credentials.
func writeBackupKeys(l Layout) (key, error) {
	for _, dir := range []string{filepath.Dir(l.S3Credentials()), filepath.Dir(l.SigningKey())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return key{}, err
		}
	}
	if err := writeSigningKey(l.SigningKey()); err != nil {
		return key{}, fmt.Errorf("signing key: %w", err)
	}
	data, err := os.ReadFile(l.S3Credentials())
	if errors.Is(err, fs.ErrNotExist) {
		k := key{"LOCAL" + strings.ToUpper(random(8)), random(24)}
		return k, os.WriteFile(l.S3Credentials(), []byte(k.file()), 0o600)
	}
	if err != nil {
		return key{}, err
	}
	return parseKey(string(data))
}

const (
	accessField = "aws_access_key_id"
	secretField = "aws_secret_access_key"
)

// file is the content of a credentials file:
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html.
func (k key) file() string {
	return fmt.Sprintf("[default]\n%s = %s\n%s = %s\n", accessField, k.access, secretField, k.secret)
}

// parseKey reads what file has written.
func parseKey(text string) (key, error) {
	var k key
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case accessField:
			k.access = strings.TrimSpace(value)
		case secretField:
			k.secret = strings.TrimSpace(value)
		}
	}
	if k.access == "" || k.secret == "" {
		return key{}, fmt.Errorf("S3 credentials: expected the fields %s and %s", accessField, secretField)
	}
	return k, nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails: https://pkg.go.dev/crypto/rand#Read
	return hex.EncodeToString(b)
}

func writeSigningKey(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
