package authn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"

	authenticationv1 "k8s.io/api/authentication/v1"
)

func credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "session/+="}
}

// front is an STS that knows one caller; at is its time.
func front(at time.Time) STS {
	return STS{
		Credentials: func(key string) (aws.Credentials, bool) { return credentials(), key == "ASIAEXAMPLE" },
		Caller: func(context.Context, aws.Credentials) (Caller, error) {
			return Caller{"123456789012", "arn:aws:sts::123456789012:assumed-role/assess/session", "AROAEXAMPLE:session"}, nil
		},
		Now: func() time.Time { return at },
	}
}

// mint makes a token as the functions do, and returns the call in it.
func mint(t *testing.T, cluster string) (tok string, call string) {
	t.Helper()
	g, err := token.NewGenerator(false, false)
	if err != nil {
		t.Fatal(err)
	}
	c := sts.New(sts.Options{Region: "eu-central-1", Credentials: awscreds.StaticCredentialsProvider{Value: credentials()}})
	made, err := g.GetWithSTS(cluster, c)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(made.Token, "k8s-aws-v1."))
	if err != nil {
		t.Fatal(err)
	}
	return made.Token, string(raw)
}

// TestSTS: a call as it was signed is answered; one with anything changed is not.
func TestSTS(t *testing.T) {
	_, call := mint(t, "main")
	now := time.Now()
	for _, c := range []struct {
		name, from, to, cluster string
		at                      time.Time
		code                    string
	}{
		{name: "as it was signed", cluster: "main", at: now},
		{name: "just before its end", cluster: "main", at: now.Add(14 * time.Minute)},
		{name: "after its end", cluster: "main", at: now.Add(16 * time.Minute), code: "SignatureDoesNotMatch"},
		{name: "from the future", cluster: "main", at: now.Add(-6 * time.Minute), code: "SignatureDoesNotMatch"},
		{name: "another cluster's header", cluster: "other", at: now, code: "SignatureDoesNotMatch"},
		{name: "no header", at: now, code: "SignatureDoesNotMatch"},
		{name: "another Region", from: "%2Feu-central-1%2F", to: "%2Feu-west-1%2F", cluster: "main", at: now, code: "SignatureDoesNotMatch"},
		{name: "another service", from: "%2Fsts%2F", to: "%2Fs3%2F", cluster: "main", at: now, code: "IncompleteSignature"},
		{name: "another action", from: "GetCallerIdentity", to: "GetSessionToken", cluster: "main", at: now, code: "InvalidAction"},
		{name: "another key", from: "ASIAEXAMPLE", to: "ASIAANOTHER", cluster: "main", at: now, code: "InvalidClientTokenId"},
		{name: "another session", from: "session%2F", to: "another%2F", cluster: "main", at: now, code: "InvalidClientTokenId"},
		{name: "a longer life", from: "X-Amz-Expires=60", to: "X-Amz-Expires=900", cluster: "main", at: now, code: "SignatureDoesNotMatch"},
		{name: "a broken time", from: "X-Amz-Date=2", to: "X-Amz-Date=x", cluster: "main", at: now, code: "IncompleteSignature"},
		{name: "the host is not signed", from: "SignedHeaders=host%3B", to: "SignedHeaders=", cluster: "main", at: now, code: "IncompleteSignature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := strings.Replace(call, c.from, c.to, 1)
			if c.from != "" && url == call {
				t.Fatalf("the call has no %q: %s", c.from, call)
			}
			r := httptest.NewRequest(http.MethodGet, url, http.NoBody)
			if c.cluster != "" {
				r.Header.Set("X-K8s-Aws-Id", c.cluster)
			}
			w := httptest.NewRecorder()
			front(c.at).ServeHTTP(w, r)
			if body := w.Body.String(); c.code == "" {
				if w.Code != http.StatusOK || !strings.Contains(body, "assumed-role/assess/session") {
					t.Errorf("%d %s", w.Code, body)
				}
			} else if w.Code != http.StatusForbidden || !strings.Contains(body, c.code) {
				t.Errorf("%d %s, want %s", w.Code, body, c.code)
			}
		})
	}
}

// TestDivert: what is for STS goes to the front with its own host, everything else where it was to go.
func TestDivert(t *testing.T) {
	var host string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer srv.Close()
	c := http.Client{Transport: Divert(http.DefaultTransport, strings.TrimPrefix(srv.URL, "http://"))}
	for url, want := range map[string]string{"https://sts.eu-central-1.amazonaws.com/?x=y": "sts.eu-central-1.amazonaws.com", srv.URL: strings.TrimPrefix(srv.URL, "http://")} {
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if host != want {
			t.Errorf("%s arrived for %s", url, host)
		}
	}
}

// says is a Verifier.
type says func(string) (*token.Identity, error)

func (s says) Verify(t string) (*token.Identity, error) { return s(t) }

func TestWebhook(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/assess"
	w := &Webhook{Entries: map[string]Entry{role: {User: "function:assess", Groups: []string{"fallback-chain:assess"}}},
		Verifier: says(func(t string) (*token.Identity, error) {
			if t == "bad" {
				return nil, errors.New("not a token")
			}
			return &token.Identity{CanonicalARN: "arn:aws:iam::123456789012:role/" + t}, nil
		})}
	ask := func(body string) (int, authenticationv1.TokenReviewStatus) {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		var out authenticationv1.TokenReview
		_ = json.NewDecoder(rec.Body).Decode(&out)
		return rec.Code, out.Status
	}
	review := func(tok string) string {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"` + tok + `"}}`
	}
	if code, s := ask(review("assess")); code != http.StatusOK || !s.Authenticated || s.User.Username != "function:assess" || s.User.Groups[0] != "fallback-chain:assess" {
		t.Errorf("%d %+v", code, s)
	}
	if _, s := ask(review("admit")); s.Authenticated || !strings.Contains(s.Error, "no access entry") {
		t.Errorf("a role without an entry: %+v", s)
	}
	if _, s := ask(review("bad")); s.Authenticated || s.Error != "not a token" {
		t.Errorf("a bad token: %+v", s)
	}
	if code, _ := ask("{"); code != http.StatusBadRequest {
		t.Errorf("no review: %d", code)
	}
	w.Expire()
	if _, s := ask(review("assess")); s.Authenticated {
		t.Errorf("an expired token: %+v", s)
	}
	if r := w.Reviews(); len(r) != 4 || r[0].Role != role || r[0].Refused != "" || r[1].Refused == "" {
		t.Errorf("reviews %+v", r)
	}
}

func TestKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhook")
	if err := WriteKubeconfig(path, "http://127.0.0.1:1/"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil || c.Host != "http://127.0.0.1:1/" {
		t.Errorf("%+v %v", c, err)
	}
}
