package stack_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/stack"
)

// keeper is an object of the S3 server that must outlive what happens to the stack.
const keeper = "kept/object"

// writesVersions writes an object twice and shows that the bucket keeps both.
func writesVersions(ctx context.Context, t *testing.T, b stack.Backups) {
	t.Helper()
	c := s3Client(ctx, t, b)
	v, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.Bucket})
	if err != nil || v.Status != types.BucketVersioningStatusEnabled {
		t.Fatalf("versioning of the bucket: %+v, %v", v, err)
	}
	for _, text := range []string{"first", "second"} {
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.Bucket, Key: aws.String(keeper), Body: strings.NewReader(text)}); err != nil {
			t.Fatal(err)
		}
	}
	holdsVersions(ctx, t, b)
}

// holdsVersions looks for what writesVersions has written, through a new client.
func holdsVersions(ctx context.Context, t *testing.T, b stack.Backups) {
	t.Helper()
	c := s3Client(ctx, t, b)
	l, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &b.Bucket, Prefix: aws.String(keeper)})
	if err != nil || len(l.Versions) != 2 {
		t.Fatalf("versions of the object: %d, %v; expected two", len(l.Versions), err)
	}
	for _, v := range l.Versions {
		want := map[bool]string{true: "second", false: "first"}[aws.ToBool(v.IsLatest)]
		o, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Bucket, Key: v.Key, VersionId: v.VersionId})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(o.Body)
		_ = o.Body.Close()
		if err != nil || string(text) != want {
			t.Errorf("version %s: %q, %v; expected %q", aws.ToString(v.VersionId), text, err, want)
		}
	}
}

// refusesOthers shows that the S3 server answers only to its credentials.
func refusesOthers(ctx context.Context, t *testing.T, b stack.Backups) {
	t.Helper()
	c := s3Client(ctx, t, b)
	_, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.Bucket}, func(o *s3.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "LOCALOTHER", SecretAccessKey: "other"}, nil
		})
	})
	if err == nil {
		t.Error("the S3 server answers to other credentials")
	}
}

// validatesAgain kills Velero, starts it, and shows that the new one has looked for its object store.
func validatesAgain(ctx context.Context, t *testing.T, dir string, kube dynamic.Interface) {
	t.Helper()
	c, err := stack.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, before := location(ctx, t, kube)
	if err := c.KillComponent(ctx, stack.Velero); err != nil {
		t.Fatal(err)
	}
	if err := c.StopComponent(ctx, stack.S3); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stack.S3, stack.Velero} {
		if err := c.StartComponent(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if phase, after := location(ctx, t, kube); phase != "Available" || after == before {
		t.Errorf("the location is %q, at version %s, before Velero was killed at %s", phase, after, before)
	}
}

// location reads the phase of the BackupStorageLocation and its version.
func location(ctx context.Context, t *testing.T, kube dynamic.Interface) (phase, version string) {
	t.Helper()
	gvr := schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: "backupstoragelocations"}
	u, err := kube.Resource(gvr).Namespace(stack.VeleroNamespace).Get(ctx, stack.StorageLocation, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	phase, _, _ = unstructured.NestedString(u.Object, "status", "phase")
	return phase, u.GetResourceVersion()
}

func s3Client(ctx context.Context, t *testing.T, b stack.Backups) *s3.Client {
	t.Helper()
	c, err := b.S3(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
