package s3store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/plan"
)

// paged is S3 that lists two objects a page, and counts; refuse makes ListObjectVersions fail.
type paged struct {
	*s3.Client
	pages  int
	refuse error
}

func (p *paged) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput, o ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	p.pages++
	if p.refuse != nil {
		return nil, p.refuse
	}
	in.MaxKeys = aws.Int32(2)
	return p.Client.ListObjectVersions(ctx, in, o...)
}

func (p *paged) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	p.pages++
	in.MaxKeys = aws.Int32(2)
	return p.Client.ListObjectsV2(ctx, in, o...)
}

func keys(objects []objectstore.Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.Key)
	}
	return out
}

func readAll(t *testing.T, b *Backups, o objectstore.Object) (string, error) {
	t.Helper()
	r, err := b.Open(t.Context(), o)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func TestBackupsInS3(t *testing.T) {
	c := awstest.S3(t, awstest.Start(t), "versioned", "versioned-refused", "plain", "plain-refused")
	for _, bucket := range []string{"versioned", "versioned-refused"} {
		if _, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucket),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, bucket := range []string{"versioned", "versioned-refused", "plain", "plain-refused"} {
		for _, prefix := range []string{"", "/velero/eu"} {
			t.Run(bucket+prefix, func(t *testing.T) {
				p, versioned := &paged{Client: c}, strings.HasPrefix(bucket, "versioned")
				if strings.HasSuffix(bucket, "refused") {
					p.refuse = forbidden()
				}
				b, err := NewBackups(p, "s3://"+bucket+prefix)
				if err != nil {
					t.Fatal(err)
				}
				write := func(key, content string) {
					t.Helper()
					full := strings.TrimPrefix(prefix+"/"+key, "/")
					if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(full), Body: strings.NewReader(content)}); err != nil {
						t.Fatal(err)
					}
				}
				for _, k := range []string{"c", "a", "e", "b", "d"} {
					write("backups/b1/"+k, "first "+k)
				}
				write("backups/b1/c", "second c")
				write("backups/b10/x", "another backup's")
				if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String(strings.TrimPrefix(prefix+"/backups/b1/e", "/"))}); err != nil {
					t.Fatal(err)
				}
				l, err := b.List(t.Context(), "backups/b1/")
				if err != nil || !slices.Equal(keys(l), []string{"backups/b1/a", "backups/b1/b", "backups/b1/c", "backups/b1/d"}) {
					t.Fatalf("%v %v", keys(l), err)
				}
				if p.pages < 2 {
					t.Errorf("%d pages", p.pages)
				}
				for _, o := range l {
					if (o.Version != "") != versioned || o.ETag == "" || strings.Contains(o.ETag, `"`) || o.Modified.IsZero() {
						t.Errorf("%+v", o)
					}
				}
				listed := l[2]
				if have, err := readAll(t, b, listed); err != nil || have != "second c" || listed.Size != 8 {
					t.Errorf("%q %v", have, err)
				}
				write("backups/b1/c", "third, c")
				have, err := readAll(t, b, listed)
				if versioned {
					if err != nil || have != "second c" {
						t.Errorf("the version that was listed: %q %v", have, err)
					}
				} else if !errors.Is(err, objectstore.ErrChanged) {
					t.Errorf("another object: %q %v", have, err)
				}
				if _, err := readAll(t, b, objectstore.Object{Key: "backups/b1/nothing"}); !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if err := b.Put(t.Context(), "backups/b1/m", []byte("{}")); err != nil {
					t.Error(err)
				}
				if err := b.Put(t.Context(), "backups/b1/m", []byte("{}")); err != nil { // the same: as if the first answer was lost
					t.Error(err)
				}
				if err := b.Put(t.Context(), "backups/b1/m", []byte("{1}")); !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
	}
	t.Run("no bucket", func(t *testing.T) {
		b, err := NewBackups(c, "s3://nowhere/x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.List(t.Context(), "backups/"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no bucket nowhere") {
			t.Error(err)
		}
	})
	if _, err := NewBackups(c, "file:///x"); err == nil {
		t.Error("took a file")
	}
}

// forbidden is S3's answer to a request that no policy allows.
func forbidden() error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusForbidden}}, Err: &smithy.GenericAPIError{Code: "AccessDenied"}}}
}

// scripted answers with pages.
type scripted struct {
	BackupsS3
	pages []*s3.ListObjectVersionsOutput
}

func (s *scripted) ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	p := s.pages[0]
	s.pages = s.pages[1:]
	return p, nil
}

func page(next string, versions ...types.ObjectVersion) *s3.ListObjectVersionsOutput {
	p := &s3.ListObjectVersionsOutput{Versions: versions, IsTruncated: aws.Bool(next != "")}
	if next != "" && next != "?" {
		p.NextKeyMarker = aws.String(next)
	}
	return p
}

// TestBackupsPages: pages that overlap, and such as never end.
func TestBackupsPages(t *testing.T) {
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	version := func(key, id string, later int, latest bool) types.ObjectVersion {
		return types.ObjectVersion{Key: aws.String(key), VersionId: aws.String(id), IsLatest: aws.Bool(latest), LastModified: aws.Time(at.Add(time.Duration(later))), Size: aws.Int64(1), ETag: aws.String(`"e"`)}
	}
	list := func(pages ...*s3.ListObjectVersionsOutput) ([]objectstore.Object, error) {
		b, err := NewBackups(&scripted{pages: pages}, "s3://bucket")
		if err != nil {
			t.Fatal(err)
		}
		return b.List(t.Context(), "backups/")
	}
	l, err := list(page("b", version("a", "1", 1, true), version("b", "1", 1, true)), page("b2", version("b", "2", 2, true), version("b", "1", 1, false)), page("", version("b", "2", 2, true), version("c", "null", 1, true)))
	if err != nil || !slices.Equal(keys(l), []string{"a", "b", "c"}) || l[1].Version != "2" || l[2].Version != "" {
		t.Errorf("%+v %v", l, err)
	}
	for name, pages := range map[string][]*s3.ListObjectVersionsOutput{
		"the same page again": {page("b", version("a", "1", 1, true)), page("b", version("a", "1", 1, true)), page("b")},
		"no marker":           {page("?", version("a", "1", 1, true))},
	} {
		if l, err := list(pages...); err == nil || l != nil {
			t.Errorf("%s: %v", name, l)
		}
	}
}

// TestBackupsOfALyingServer: what S3 itself never does, and what stands in between may.
func TestBackupsOfALyingServer(t *testing.T) {
	const size = 100
	body := strings.Repeat("x", size)
	for name, c := range map[string]struct {
		get  http.HandlerFunc
		want error
	}{
		"as it says":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }, nil},
		"announces less": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body[1:]) }, objectstore.ErrLength},
		"announces more": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body+"x") }, objectstore.ErrLength},
		"sends less": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, body[1:])
		}, objectstore.ErrLength},
		"says nothing,less": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, body[1:])
		}, objectstore.ErrLength},
		"says nothing,more": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, body+"x")
		}, objectstore.ErrLength},
		"refuses": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<Error><Code>AccessDenied</Code></Error>`)
		}, fs.ErrPermission},
		"was changed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPreconditionFailed) }, objectstore.ErrChanged},
		"stalls": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.get)
			defer srv.Close()
			b, err := NewBackups(s3.NewFromConfig(awstest.Config(srv.URL), func(o *s3.Options) { o.UsePathStyle = true }), "s3://velero/local")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r, err := b.Open(ctx, objectstore.Object{Key: "backups/b1/b1.tar.gz", Size: size, ETag: "e"})
			if err == nil {
				_, err = io.ReadAll(r)
				_ = r.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, expected %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "s3://velero/local/backups/b1/b1.tar.gz") {
				t.Errorf("does not name the object: %v", err)
			}
		})
	}
}

func TestClientFor(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := file("own", "[default]\naws_access_key_id = plan\naws_secret_access_key = secret\n[other]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n")
	t.Setenv("AWS_ACCESS_KEY_ID", "process")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for name, c := range map[string]struct {
		v           plan.Velero
		env         string
		key, region string
		path        bool
		err         string
	}{
		"the plan's":             {plan.Velero{Region: "eu-west-1", Endpoint: "http://127.0.0.1:1", CredentialsFile: own}, "eu-central-1", "plan", "eu-west-1", true, ""},
		"the process's":          {plan.Velero{}, "eu-central-1", "process", "eu-central-1", false, ""},
		"any Region":             {plan.Velero{Endpoint: "https://s3.example.com"}, "", "process", "us-east-1", true, ""},
		"no Region":              {plan.Velero{Location: "s3://b/p"}, "", "", "", false, "spec.inventory.velero.region"},
		"no file":                {plan.Velero{CredentialsFile: filepath.Join(dir, "gone")}, "eu-central-1", "", "", false, "spec.inventory.velero.credentialsFile"},
		"a file without keys":    {plan.Velero{CredentialsFile: file("empty", "[default]\nregion = x\n")}, "eu-central-1", "", "", false, "aws_access_key_id"},
		"a file of someone else": {plan.Velero{CredentialsFile: file("others", "[other]\naws_access_key_id = a\naws_secret_access_key = b\n")}, "eu-central-1", "", "", false, "credentialsFile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_REGION", c.env)
			client, err := ClientFor(t.Context(), &c.v)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, expected %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			o := client.Options()
			creds, err := o.Credentials.Retrieve(t.Context())
			if err != nil || creds.AccessKeyID != c.key || o.Region != c.region || o.UsePathStyle != c.path || (aws.ToString(o.BaseEndpoint) != c.v.Endpoint) {
				t.Errorf("%q %q %v %q %v", creds.AccessKeyID, o.Region, o.UsePathStyle, aws.ToString(o.BaseEndpoint), err)
			}
		})
	}
}
