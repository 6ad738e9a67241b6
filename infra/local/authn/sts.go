package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// presigned is how long STS accepts a presigned call, whatever X-Amz-Expires says
// (https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/v0.7.18/pkg/token/token.go, presignedURLExpiration).
const presigned = 15 * time.Minute

// Caller is what sts:GetCallerIdentity says (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
type Caller struct {
	Account string `json:"Account"`
	Arn     string `json:"Arn"`
	UserID  string `json:"UserId"`
}

// STS answers presigned calls of GetCallerIdentity as AWS does and emulators do not: the signature is made again with the
// caller's secret over everything that was signed, so that a field or a header that was changed, or a time that is over, refuses it.
type STS struct {
	// Credentials are those of an access key; ok is false where there is none.
	Credentials func(accessKey string) (c aws.Credentials, ok bool)
	// Caller says who uses these credentials.
	Caller func(context.Context, aws.Credentials) (Caller, error)
	Now    func() time.Time
}

// ServeHTTP answers one call.
func (s STS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	creds, code, err := s.check(r)
	var caller Caller
	if err == nil {
		code = "InternalFailure"
		caller, err = s.Caller(r.Context(), creds)
	}
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"Error": map[string]string{"Code": code, "Message": err.Error(), "Type": "Sender"}})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"GetCallerIdentityResponse": map[string]any{"GetCallerIdentityResult": caller}})
}

// check makes the signature again. code is the error's, as in
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
func (s STS) check(r *http.Request) (creds aws.Credentials, code string, err error) {
	q := r.URL.Query()
	if a := q.Get("Action"); a != "GetCallerIdentity" || r.Method != http.MethodGet {
		return creds, "InvalidAction", fmt.Errorf("%s %s: expected GET of GetCallerIdentity", r.Method, a)
	}
	scope := strings.Split(q.Get("X-Amz-Credential"), "/")
	if len(scope) != 5 || scope[3] != "sts" || scope[4] != "aws4_request" {
		return creds, "IncompleteSignature", fmt.Errorf("credential %q: expected KEY/DATE/REGION/sts/aws4_request", q.Get("X-Amz-Credential"))
	}
	at, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil || !strings.HasPrefix(q.Get("X-Amz-Date"), scope[1]) {
		return creds, "IncompleteSignature", fmt.Errorf("X-Amz-Date %q: expected a time of the day %s", q.Get("X-Amz-Date"), scope[1])
	}
	if now := s.Now(); now.After(at.Add(presigned)) || at.After(now.Add(5*time.Minute)) {
		return creds, "SignatureDoesNotMatch", fmt.Errorf("signature expired: %s is not within %s of now", at, presigned)
	}
	creds, ok := s.Credentials(scope[0])
	if !ok || creds.SessionToken != q.Get("X-Amz-Security-Token") {
		return creds, "InvalidClientTokenId", fmt.Errorf("the security token of %s is not valid", scope[0])
	}
	again, err := sign(r, creds, scope[2], at)
	if err != nil {
		return creds, "IncompleteSignature", err
	}
	if subtle.ConstantTimeCompare([]byte(again), []byte(q.Get("X-Amz-Signature"))) != 1 {
		return creds, "SignatureDoesNotMatch", fmt.Errorf("the signature is not the caller's over this call")
	}
	return creds, "", nil
}

// sign returns the signature that the call must have.
func sign(r *http.Request, creds aws.Credentials, region string, at time.Time) (string, error) {
	q := r.URL.Query()
	headers := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	if !slices.Contains(headers, "host") {
		return "", fmt.Errorf("signed headers %v: expected host among them", headers)
	}
	// The signer puts back what it takes away here.
	for _, p := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		q.Del(p)
	}
	again := &http.Request{Method: http.MethodGet, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: q.Encode()}}
	for _, h := range headers {
		if h != "host" {
			again.Header[http.CanonicalHeaderKey(h)] = r.Header.Values(h)
		}
	}
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, again, hex.EncodeToString(empty[:]), "sts", region, at)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(signed)
	if err != nil {
		return "", err
	}
	return u.Query().Get("X-Amz-Signature"), nil
}

// Divert sends what is for STS to another address (host:port), without TLS, and everything else on to next. The verifier of
// aws-iam-authenticator accepts no host but STS's own and brings no transport: a test makes this its http.DefaultTransport.
func Divert(next http.RoundTripper, address string) http.RoundTripper {
	return diverted{next, address}
}

type diverted struct {
	next    http.RoundTripper
	address string
}

func (d diverted) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	if !strings.HasPrefix(host, "sts.") || !strings.HasSuffix(host, ".amazonaws.com") {
		return d.next.RoundTrip(r)
	}
	again := r.Clone(r.Context())
	again.Host, again.URL.Scheme, again.URL.Host = host, "http", d.address
	return d.next.RoundTrip(again)
}
