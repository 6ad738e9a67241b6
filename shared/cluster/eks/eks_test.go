package eks

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awseks "github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/fault"
)

// server is an API server that accepts the tokens it is told to.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	accept string
	// seen are the requests: method, token, body.
	seen []string
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+bearer+" "+string(body)))
		if bearer != s.accept {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"gitVersion":"v1.36.3"}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) certificate() string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// describer answers what it holds and counts.
type describer struct {
	out   *awseks.DescribeClusterOutput
	err   error
	asked []string
}

func (d *describer) DescribeCluster(_ context.Context, in *awseks.DescribeClusterInput, o ...func(*awseks.Options)) (*awseks.DescribeClusterOutput, error) {
	var opt awseks.Options
	for _, f := range o {
		f(&opt)
	}
	d.asked = append(d.asked, aws.ToString(in.Name)+" in "+opt.Region)
	return d.out, d.err
}

// numbered mints token-1, token-2, ... each good for its life.
type numbered struct {
	now  func() time.Time
	life time.Duration
	n    int
	err  error
}

func (m *numbered) Mint(context.Context, string, string) (string, time.Time, error) {
	if m.err != nil {
		return "", time.Time{}, m.err
	}
	m.n++
	return fmt.Sprintf("token-%d", m.n), m.now().Add(m.life), nil
}

func described(s *server) *awseks.DescribeClusterOutput {
	return &awseks.DescribeClusterOutput{Cluster: &types.Cluster{Endpoint: aws.String(s.URL), Status: types.ClusterStatusActive,
		CertificateAuthority: &types.Certificate{Data: aws.String(s.certificate())}}}
}

// TestTokens follows one warm client through an expiry, a refusal and a cluster that accepts nothing.
func TestTokens(t *testing.T) {
	s := newServer(t)
	now := time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	d, m := &describer{out: described(s)}, &numbered{now: clock, life: 14 * time.Minute}
	clusters := &Clusters{EKS: d, Tokens: m, Now: clock}
	version := func() error {
		t.Helper()
		c, err := clusters.Connect(t.Context(), "main", "eu-central-1")
		if err != nil {
			t.Fatal(err)
		}
		v, err := c.Version(t.Context())
		if err == nil && v.GitVersion != "v1.36.3" {
			t.Errorf("version %q", v.GitVersion)
		}
		return err
	}
	for _, step := range []struct {
		name   string
		pass   time.Duration
		accept string
		seen   string
		fails  bool
	}{
		{name: "first", accept: "token-1", seen: "[GET token-1]"},
		{name: "kept", pass: 12 * time.Minute, accept: "token-1", seen: "[GET token-1]"},
		{name: "replaced before it expires", pass: 61 * time.Second, accept: "token-2", seen: "[GET token-2]"},
		{name: "refused: once more with a new one", accept: "token-3", seen: "[GET token-2 GET token-3]"},
		{name: "refused again: the answer stands", accept: "nothing", seen: "[GET token-3 GET token-4]", fails: true},
		{name: "and the next request has a new one", accept: "token-5", seen: "[GET token-5]"},
	} {
		now, s.accept, s.seen = now.Add(step.pass), step.accept, nil
		if err := version(); (err != nil) != step.fails || fmt.Sprint(s.seen) != step.seen {
			t.Errorf("%s: %v, %v; want %s", step.name, s.seen, err, step.seen)
		}
	}
	if fmt.Sprint(d.asked) != "[main in eu-central-1]" {
		t.Errorf("described %v, want once", d.asked)
	}
	m.err = errors.New("no credentials")
	now = now.Add(time.Hour)
	if err := version(); err == nil || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("without credentials: %v", err)
	}
}

// TestBodies: what was sent is sent again with the new token, if it can be; an upgrade never is.
func TestBodies(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		name string
		make func() *http.Request
		want string
	}{
		{"rewindable", func() *http.Request {
			r, _ := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("x"))
			return r
		}, "[POST token-1 x POST token-2 x]"},
		{"a stream", func() *http.Request {
			r, _ := http.NewRequest(http.MethodPost, s.URL, io.MultiReader(strings.NewReader("x")))
			return r
		}, "[POST token-1 x]"},
		{"an upgrade", func() *http.Request {
			r, _ := http.NewRequest(http.MethodGet, s.URL, http.NoBody)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			return r
		}, "[GET token-1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &numbered{now: time.Now, life: time.Hour}
			tr := &transport{next: s.Client().Transport, failed: &atomic.Bool{}, tokens: &tokenSource{now: time.Now,
				mint: func(ctx context.Context) (string, time.Time, error) { return m.Mint(ctx, "", "") }}}
			s.accept, s.seen = "token-2", nil
			resp, err := tr.RoundTrip(c.make().WithContext(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if fmt.Sprint(s.seen) != c.want {
				t.Errorf("%v, want %s", s.seen, c.want)
			}
			if again, _ := tr.tokens.get(t.Context()); again != "token-2" {
				t.Errorf("the next request has %s, want token-2", again)
			}
		})
	}
}

// TestMint reads what the token says: the presigned call, the cluster it is signed for, the Region.
func TestMint(t *testing.T) {
	cfg := aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "session")}
	before := time.Now()
	token, expires, err := STS{Config: cfg}.Mint(t.Context(), "main", "eu-central-1")
	if err != nil {
		t.Fatal(err)
	}
	if d := expires.Sub(before); d < 13*time.Minute || d > 15*time.Minute {
		t.Errorf("good for %s, want about 14 minutes", d)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Host != "sts.eu-central-1.amazonaws.com" || q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-SignedHeaders") != "host;x-k8s-aws-id" ||
		!strings.Contains(q.Get("X-Amz-Credential"), "/eu-central-1/sts/") || q.Get("X-Amz-Security-Token") != "session" {
		t.Errorf("%s", u)
	}
	other, _, _ := STS{Config: cfg}.Mint(t.Context(), "other", "eu-central-1")
	if other == token {
		t.Error("two clusters have one token")
	}
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("none here") })
	if _, _, err := (STS{Config: cfg}).Mint(t.Context(), "main", "eu-central-1"); err == nil {
		t.Error("a token without credentials")
	}
}

func TestDescribe(t *testing.T) {
	s := newServer(t)
	without := func(change func(*types.Cluster)) *awseks.DescribeClusterOutput {
		out := described(s)
		change(out.Cluster)
		return out
	}
	for _, c := range []struct {
		name string
		out  *awseks.DescribeClusterOutput
		err  error
		want fault.Code
		text string
	}{
		{"no such cluster", nil, &types.ResourceNotFoundException{}, fault.PlanInvalid, "no such cluster"},
		{"not allowed", nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}, fault.PermissionDenied, ""},
		{"throttled", nil, &smithy.GenericAPIError{Code: "ThrottlingException"}, fault.Throttled, ""},
		{"nothing", &awseks.DescribeClusterOutput{}, nil, fault.Unavailable, "unknown"},
		{"being made", without(func(c *types.Cluster) { c.Endpoint, c.Status = nil, types.ClusterStatusCreating }), nil, fault.Unavailable, "CREATING"},
		{"no authority", without(func(c *types.Cluster) { c.CertificateAuthority = nil }), nil, fault.Unavailable, "ACTIVE"},
		{"a broken authority", without(func(c *types.Cluster) { c.CertificateAuthority.Data = aws.String("%") }), nil, fault.Unavailable, "base64"},
		{"no certificate", without(func(c *types.Cluster) { c.CertificateAuthority.Data = aws.String("eA==") }), nil, fault.Internal, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &describer{out: c.out, err: c.err}
			clusters := &Clusters{EKS: d, Tokens: &numbered{now: time.Now}, Now: time.Now}
			for range 2 { // a failure is not kept
				_, err := clusters.Connect(t.Context(), "main", "eu-central-1")
				if f := fault.From(err); f == nil || f.Code != c.want || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %s with %q", err, c.want, c.text)
				}
			}
			if len(d.asked) != 2 {
				t.Errorf("asked %d times, want 2", len(d.asked))
			}
		})
	}
}
