package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

func TestReportsAndMarks(t *testing.T) {
	c := awstest.S3(t, awstest.Start(t), bucket)
	t.Run("a report is read back", func(t *testing.T) {
		r := Reports{S3: c, Bucket: bucket}
		for _, content := range []string{"{}", "{\"again\":1}", ""} {
			uri, err := r.Put(t.Context(), runID, "report.json", []byte(content))
			if err != nil || uri != "s3://"+bucket+"/runs/"+runID+"/report.json" {
				t.Fatalf("%q, %v", uri, err)
			}
			l, _ := parseURI(uri)
			if back, err := get(t.Context(), c, l, 100); err != nil || string(back) != content {
				t.Errorf("%q, %v; want %q", back, err, content)
			}
		}
		out, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("runs/" + runID + "/report.json")})
		if err != nil || *out.ContentType != "application/json" {
			t.Errorf("%v, %v", out, err)
		}
		for _, bad := range [][2]string{{"", "x"}, {"a/b", "x"}, {"a", "../x"}, {"a", ""}} {
			if _, err := r.Put(t.Context(), bad[0], bad[1], nil); err == nil {
				t.Errorf("%q was written", bad)
			}
		}
	})
	t.Run("what came back is not what was written", func(t *testing.T) {
		if _, err := (Reports{S3: forger{c}, Bucket: bucket}).Put(t.Context(), runID, "report.md", []byte("truth")); err == nil || !strings.Contains(err.Error(), "read back") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a claim is the first one's", func(t *testing.T) {
		c := Claims{S3: c, Bucket: bucket}
		for _, try := range []struct {
			run, doc string
			first    bool
		}{
			{runID, `{"at":1}`, true},
			{runID, `{"at":1}`, true}, // the answer to the first try was lost, and the client sent it again
			{runID, `{"at":2}`, false},
			{runID + "-2", `{"at":2}`, true},
		} {
			if first, err := c.Take(t.Context(), try.run, "metrics.json", []byte(try.doc)); err != nil || first != try.first {
				t.Errorf("%s %s: first %t, %v", try.run, try.doc, first, err)
			}
		}
		if _, err := c.Take(t.Context(), "a/b", "x", nil); err == nil {
			t.Error("a claim outside the run's place")
		}
		c.Bucket = "nowhere"
		if first, err := c.Take(t.Context(), runID, "metrics.json", []byte("{}")); err == nil || first {
			t.Errorf("no bucket: %t, %v", first, err)
		}
	})
	t.Run("marks", func(t *testing.T) {
		m := Marks{S3: c, Bucket: bucket, Name: "janitor.json"}
		v := map[string]int{"untouched": 1}
		if err := m.Load(t.Context(), runID, &v); err != nil || v["untouched"] != 1 {
			t.Fatalf("%v, %v", v, err)
		}
		for want := range 2 {
			if err := m.Save(t.Context(), runID, map[string]int{"n": want}); err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			if err := m.Load(t.Context(), runID, &got); err != nil || got["n"] != want {
				t.Errorf("%v, %v; want %d", got, err, want)
			}
		}
		put(t, c, "runs/"+runID+"/janitor.json", "no JSON")
		if err := m.Load(t.Context(), runID, &v); err == nil {
			t.Error("no JSON was read")
		}
		m.Bucket = "another-bucket"
		if err := m.Save(t.Context(), runID, 1); err == nil {
			t.Error("saved in a bucket that does not exist")
		}
	})
	t.Run("a file system", func(t *testing.T) {
		for k, v := range map[string]string{"bundle.json": "{}", "apps/sts.yaml": "a", "apps/deep/cm.yaml": "b", "empty": ""} {
			put(t, c, "inventories/shop/"+k, v)
		}
		put(t, c, "inventories/shop/", "")            // what the console makes of a directory
		put(t, c, "inventories/shop2/other.yaml", "") // shares the prefix as text only
		for _, uri := range []string{"s3://" + bucket + "/inventories/shop", "s3://" + bucket + "/inventories/shop/"} {
			files, err := NewPrefix(t.Context(), &edge{S3: c}, uri, 100)
			if err != nil {
				t.Fatal(err)
			}
			var seen []string
			err = fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					seen = append(seen, p)
				}
				return err
			})
			if got := fmt.Sprint(seen); err != nil || got != "[apps/deep/cm.yaml apps/sts.yaml bundle.json empty]" {
				t.Errorf("%s: %s, %v", uri, got, err)
			}
			b, err := fs.ReadFile(files, "apps/sts.yaml")
			info, serr := fs.Lstat(files, "apps/sts.yaml")
			if err != nil || serr != nil || string(b) != "a" || info.Size() != 1 || !info.Mode().IsRegular() || info.Name() != "sts.yaml" {
				t.Errorf("%q, %v, %v, %v", b, err, info, serr)
			}
			for _, gone := range []string{"nothing", "apps"} {
				_, err = fs.Stat(files, gone)
				_, oerr := files.Open(gone)
				if !errors.Is(err, fs.ErrNotExist) || !errors.Is(oerr, fs.ErrNotExist) {
					t.Errorf("%s: %v, %v", gone, err, oerr)
				}
			}
			for _, bad := range []string{"../x", "/x", `a\b`, ""} {
				if _, err := files.Open(bad); !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("%q: %v", bad, err)
				}
			}
		}
		large, _ := NewPrefix(t.Context(), c, "s3://"+bucket+"/inventories/shop", 1)
		if _, err := large.Open("bundle.json"); !errors.Is(err, errTooLarge) {
			t.Errorf("%v", err)
		}
		whole, err := NewPrefix(t.Context(), c, "s3://"+bucket, 100)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := fs.ReadDir(whole, "."); err != nil || len(list) < 2 {
			t.Errorf("%v, %v", list, err)
		}
		nowhere, _ := NewPrefix(t.Context(), c, "s3://no-such-bucket/x", 100)
		if _, err := fs.ReadDir(nowhere, "."); err == nil {
			t.Error("a bucket that does not exist was listed")
		}
	})
}

// forger answers another content.
type forger struct{ S3 }

func (f forger) GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader("lies!"))}, nil
}

// served is an S3 that answers each key with a status and an error code, or with a plan.
func served(t *testing.T, answers map[string]string) S3 {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := answers[r.URL.Path]
		if code, refused := strings.CutPrefix(text, "!"); refused {
			var status int
			var name string
			_, _ = fmt.Sscanf(code, "%d %s", &status, &name)
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", name)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	return s3.New(s3.Options{Region: "eu-central-1", BaseEndpoint: aws.String(srv.URL), UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
}

func TestPlansRead(t *testing.T) {
	p := Plans{S3: served(t, map[string]string{
		"/plans/a/shop.yaml": "kind: FallbackPlan\n", "/plans/missing": "!404 NoSuchKey", "/plans/secret": "!403 AccessDenied", "/plans/slow": "!503 SlowDown",
		"/plans/large": strings.Repeat("#", plan.SizeLimit+1),
	})}
	for uri, want := range map[string]fault.Code{
		"s3://plans/a/shop.yaml": "", "s3://plans/missing": fault.PlanInvalid, "s3://plans/secret": fault.PermissionDenied,
		"s3://plans/slow": fault.Throttled, "s3://plans/large": fault.PlanInvalid, "plans/shop.yaml": fault.PlanInvalid,
		"s3://plans": fault.PlanInvalid, "s3://plans/../x": fault.PlanInvalid, "s3://plans//x": fault.PlanInvalid,
	} {
		data, err := p.Read(t.Context(), uri)
		f := fault.From(err)
		if want == "" && (err != nil || string(data) != "kind: FallbackPlan\n") || want != "" && (f == nil || f.Code != want) {
			t.Errorf("%s: %.40q, %v; want %q", uri, data, err, want)
		}
	}
}

const bundlePath = "s3://backups.example/shop"

func planText(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../plan/testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPlansLoad(t *testing.T) {
	text := planText(t)
	with := func(path string) string {
		changed := strings.Replace(text, bundlePath, path, 1)
		if path != bundlePath && changed == text {
			t.Fatal("the plan has no bundle path")
		}
		return changed
	}
	for name, c := range map[string]struct {
		path, want string
		digest     string
		code       fault.Code
	}{
		"as admitted":                 {path: "s3://other/shop", want: "s3://other/shop"},
		"a relative inventory":        {path: "../inventories/shop", want: "s3://plans/inventories/shop"},
		"beside the plan":             {path: "shop", want: "s3://plans/plans/shop"},
		"out of the bucket":           {path: "../../shop", code: fault.PlanInvalid},
		"a file of this machine":      {path: "/etc/shop", code: fault.PlanInvalid},
		"changed since admitted":      {path: "shop", digest: "sha256:0", code: fault.PlanInvalid},
		"never admitted: no digest":   {path: "shop", digest: "none", code: fault.PlanInvalid},
		"no plan in those same bytes": {path: "shop\n  bogus: 1 #", code: fault.PlanInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			content := with(c.path)
			ref := run.PlanRef{Name: "shop", URI: "s3://plans/plans/shop.yaml", Digest: plan.Digest([]byte(content))}
			switch c.digest {
			case "none":
				ref.Digest = ""
			case "":
			default:
				ref.Digest = c.digest
			}
			p, err := Plans{S3: served(t, map[string]string{"/plans/plans/shop.yaml": content})}.Load(t.Context(), ref)
			if c.code != "" {
				if f := fault.From(err); f == nil || f.Code != c.code {
					t.Errorf("%v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Spec.Inventory.Manifests.Path; got != c.want || p.Spec.Gate.Budget == 0 {
				t.Errorf("inventory %q, want %q; gate budget %s, want the default", got, c.want, p.Spec.Gate.Budget.D())
			}
		})
	}
}
