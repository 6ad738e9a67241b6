package machine_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/authn"
)

// presigned is what a token is made of.
type presigned struct {
	credentials             aws.Credentials
	cluster, action, region string
	at                      time.Time
	// unsigned leaves the cluster's name out of what is signed.
	unsigned bool
}

// token signs it as aws-iam-authenticator does, which itself makes none that is wrong.
func (p presigned) token(t *testing.T) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://sts."+p.region+".amazonaws.com/?Action="+p.action+"&Version=2011-06-15&X-Amz-Expires=60", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if !p.unsigned {
		r.Header.Set("X-K8s-Aws-Id", p.cluster)
	}
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), p.credentials, r, hex.EncodeToString(empty[:]), "sts", p.region, p.at)
	if err != nil {
		t.Fatal(err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(signed))
}

// tokens: who may enter the cluster, and who not. The API server is asked with each token.
func (b *bed) tokens(t *testing.T) {
	good := presigned{credentials: b.keys["assess"], cluster: eksName, action: "GetCallerIdentity", region: region, at: time.Now()}
	with := func(change func(*presigned)) string {
		p := good
		change(&p)
		return p.token(t)
	}
	forged := good.credentials
	forged.SecretAccessKey = "another"
	nobody := good.credentials
	nobody.AccessKeyID = "ASIANOBODY0000000000"
	for _, c := range []struct{ name, token, refused string }{
		{"a function's own", with(func(*presigned) {}), ""},
		{"for another cluster", with(func(p *presigned) { p.cluster = "other" }), "SignatureDoesNotMatch"},
		{"the cluster is not signed", with(func(p *presigned) { p.unsigned = true }), "did not sign the x-k8s-aws-id header"},
		{"16 minutes old", with(func(p *presigned) { p.at = p.at.Add(-16 * time.Minute) }), "expired"},
		{"another call", with(func(p *presigned) { p.action = "GetSessionToken" }), "unexpected action"},
		{"another's secret", with(func(p *presigned) { p.credentials = forged }), "SignatureDoesNotMatch"},
		{"nobody's key", with(func(p *presigned) { p.credentials = nobody }), "InvalidClientTokenId"},
		{"a role without an access entry", with(func(p *presigned) { p.credentials = b.keys["report"] }), "no access entry"},
		{"no token of ours", "k8s-aws-v2.x", "missing expected"},
	} {
		seen := len(b.webhook.Reviews())
		want := http.StatusOK
		if c.refused != "" {
			want = http.StatusUnauthorized
		}
		if got := b.ask(t, c.token); got != want {
			t.Errorf("%s: the API server answers %d, want %d", c.name, got, want)
		}
		reviews := b.webhook.Reviews()[seen:]
		if !slices.ContainsFunc(reviews, func(r authn.Review) bool {
			return strings.Contains(r.Refused, c.refused) && (r.Refused == "") == (c.refused == "")
		}) {
			t.Errorf("%s: the authenticator says %+v, want %q", c.name, reviews, c.refused)
		}
	}
}

// ask asks the API server what it serves with a token, and returns the answer's status.
func (b *bed) ask(t *testing.T, token string) int {
	t.Helper()
	client, host := b.bearer(t, token)
	res, err := client.Get(host + "/apis")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// bearer is a client of the API server with a token, and the server's address.
func (b *bed) bearer(t *testing.T, token string) (c *http.Client, host string) {
	t.Helper()
	admin, err := clientcmd.BuildConfigFromFlags("", b.options.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(admin)
	cfg.BearerToken = token
	if c, err = rest.HTTPClientFor(cfg); err != nil {
		t.Fatal(err)
	}
	return c, admin.Host
}

// identities: every function that reached the cluster came as itself, and those that have no business there did not come.
func (b *bed) identities(t *testing.T) {
	came := map[string]bool{}
	for _, r := range b.webhook.Reviews() {
		if f := kubernetes.FunctionOf(r.Groups); r.Refused == "" {
			came[f] = true
			if r.User != "function:"+f || !strings.HasSuffix(r.Role, "Role") {
				t.Errorf("%+v", r)
			}
		}
	}
	for _, f := range kubernetes.Functions() {
		if _, called := b.recorder.Calls()[f]; called && !came[f] {
			t.Errorf("%s was invoked and never seen by the authenticator", f)
		}
	}
	if len(came) < 10 {
		t.Errorf("only %v came", came)
	}
}
