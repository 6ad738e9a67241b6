package aws_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/backup/kmskey"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/signal"
)

// digests stands before moto, which takes a digest for the message and hashes it once more
// (https://github.com/getmoto/moto/blob/master/moto/kms/models.py, sign): it has moto sign the manifest that was written just before, and only
// where the digest is the manifest's. To KMS that is the same.
func digests(t *testing.T, moto string) string {
	t.Helper()
	target, err := url.Parse(moto)
	if err != nil {
		t.Fatal(err)
	}
	var manifest []byte
	proxy := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch {
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+backup.ManifestFile):
			manifest = body
		case r.Header.Get("X-Amz-Target") == "TrentService.Sign":
			var in struct {
				KeyId, MessageType, SigningAlgorithm string
				Message                              []byte
			}
			sum := sha256.Sum256(manifest)
			if err := json.Unmarshal(body, &in); err != nil || in.MessageType != "DIGEST" || !bytes.Equal(in.Message, sum[:]) {
				http.Error(w, `{"__type":"ValidationException","message":"not the digest of the manifest"}`, http.StatusBadRequest)
				return
			}
			in.MessageType, in.Message = "RAW", manifest
			body, _ = json.Marshal(in) // texts and bytes
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestSealBootstrap: the built function, with moto as S3 and KMS. S3's events go in; manifest and signature come out once the backup is
// complete, verify with the key, and stay as they are.
func TestSealBootstrap(t *testing.T) {
	const bucket, prefix, name = "velero-eu", "eu/main", "shop-20261120020000"
	moto := awstest.Start(t)
	c := awstest.S3(t, moto, bucket)
	if _, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucket), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	k := kms.NewFromConfig(awstest.Config(moto))
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecEccNistP256, KeyUsage: kmstypes.KeyUsageTypeSignVerify})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.ToString(key.KeyMetadata.Arn)
	// Without operations Velero does not write the tarball again, and nothing has to be waited for.
	put := func(name, phase string, only ...string) {
		spec := backuptest.Spec{Name: name, Phase: phase, Started: time.Now().Add(-time.Minute).Truncate(time.Second),
			Change: map[string]func([]byte) []byte{"-itemoperations.json.gz": func([]byte) []byte { return []byte("[]") }}}
		for at, data := range spec.Files() {
			if len(only) > 0 && !slices.Contains(only, at) {
				continue
			}
			if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(prefix + "/" + at), Body: bytes.NewReader(data)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sample, err := os.ReadFile(filepath.Join(root, "events", "testdata", "backup-written.json"))
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := awstest.Bootstrap(t, "SealFunction")
	env := environment(digests(t, moto), "MANIFEST_KEY_ARN="+arn, "VELERO_BUCKET="+bucket, "VELERO_PREFIX="+prefix, "AWS_REGION="+awstest.Region)
	deliver := func(want ...string) string {
		t.Helper()
		var in []awstest.Invocation
		for _, w := range want {
			backup, _, _ := strings.Cut(w, " ")
			in = append(in, awstest.Invocation{Payload: strings.ReplaceAll(string(sample), name, backup), Left: time.Minute})
		}
		replies, log := awstest.Runtime(t, bootstrap, env, in...)
		if len(replies) != len(in) {
			t.Fatalf("%d replies to %d events:\n%s", len(replies), len(in), log)
		}
		for i, w := range want {
			_, action, _ := strings.Cut(w, " ")
			if !strings.HasSuffix(replies[i].Path, "/response") || !strings.Contains(replies[i].Body, `"action":"`+action+`"`) {
				t.Errorf("%s is answered %s %s\n%s", w, replies[i].Path, replies[i].Body, log)
			}
		}
		return log
	}
	ours := func() (out []string) {
		l, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range l.Versions {
			if strings.Contains(aws.ToString(v.Key), "/fallback-") {
				out = append(out, aws.ToString(v.Key)+" "+aws.ToString(v.VersionId))
			}
		}
		return out
	}

	put(name, "Finalizing")
	put("shop-failed", "PartiallyFailed")
	log := deliver(name+" NotCompleted", "shop-failed NotSealed", "shop-gone Gone", "shop/deeper Ignored")
	if got := ours(); len(got) != 0 || !strings.Contains(log, `"level":"ERROR","message":"seal","action":"NotSealed","backup":"shop-failed","phase":"PartiallyFailed"`) {
		t.Errorf("wrote %v, said %s", got, log)
	}
	put(name, "Completed", backuptest.Key(name, "velero-backup.json"))
	deliver(name+" Sealed", name+" AlreadySealed")
	sealed := ours()
	deliver(name + " AlreadySealed")
	if got := ours(); len(got) != 2 || !slices.Equal(got, sealed) {
		t.Errorf("%v, then %v: expected a manifest and a signature, each written once", sealed, got)
	}

	store, err := s3store.NewBackups(c, "s3://"+bucket+"/"+prefix)
	if err != nil {
		t.Fatal(err)
	}
	exp := backup.Expectation{Now: time.Now(), ManifestRequired: true, Key: kmskey.New(k, arn)}
	if v, err := backup.Verify(t.Context(), store, name, exp); err != nil || v.Status != signal.True || v.Integrity != signal.True {
		t.Errorf("%+v %v", v, err)
	}
	// One object written again with another content: the next event finds it, and so does everybody who verifies.
	changed := backuptest.Key(name, "-results.gz")
	data := backuptest.Gzip([]byte(`{"errors":{},"warnings":{"velero":["x"]}}`))
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(prefix + "/" + changed), Body: bytes.NewReader(data)}); err != nil {
		t.Fatal(err)
	}
	if log := deliver(name + " NotVerified"); !strings.Contains(log, changed) || !slices.Equal(ours(), sealed) {
		t.Errorf("wrote %v, said %s", ours(), log)
	}
	if v, err := backup.Verify(t.Context(), store, name, exp); err != nil || v.Integrity != signal.False {
		t.Errorf("%+v %v", v, err)
	}

	_, log = awstest.Runtime(t, bootstrap, environment(moto))
	if !strings.Contains(log, "MANIFEST_KEY_ARN is not set") || !strings.Contains(log, "VELERO_BUCKET is not set") {
		t.Errorf("without its environment it says %s", log)
	}
}
