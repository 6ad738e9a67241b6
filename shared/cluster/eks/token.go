package eks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"
)

// leeway is how long before its end a token is not used any more: a request must arrive with it.
const leeway = time.Minute

// STS mints tokens as aws-iam-authenticator does: a presigned sts:GetCallerIdentity that is signed over the cluster's name
// (https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster). Nothing is sent.
type STS struct{ Config aws.Config }

// Mint signs for the cluster's own Region, because its authenticator need not reach another Region's STS.
func (s STS) Mint(ctx context.Context, name, region string) (string, time.Time, error) {
	g, err := token.NewGenerator(false, false)
	if err != nil {
		return "", time.Time{}, err
	}
	// The generator takes no context: credentials that have to be fetched are fetched here.
	if _, err := s.Config.Credentials.Retrieve(ctx); err != nil {
		return "", time.Time{}, fmt.Errorf("credentials: %w", err)
	}
	t, err := g.GetWithSTS(name, sts.NewFromConfig(s.Config, func(o *sts.Options) { o.Region = region }))
	return t.Token, t.Expiration, err
}

// tokenSource keeps a token until it is about to expire.
type tokenSource struct {
	now  func() time.Time
	mint func(context.Context) (string, time.Time, error)

	mu      sync.Mutex
	token   string
	expires time.Time
}

func (s *tokenSource) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && s.now().Add(leeway).Before(s.expires) {
		return s.token, nil
	}
	t, expires, err := s.mint(ctx)
	if err != nil {
		return "", fmt.Errorf("sign a token for the cluster: %w", err)
	}
	s.token, s.expires = t, expires
	return t, nil
}

// refused forgets a token that the cluster did not accept, unless another request has replaced it already.
func (s *tokenSource) refused(t string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == t {
		s.token = ""
	}
}

// transport gives every request a token of its own time. A 401 is answered once with a new token: the request was not
// executed. A request whose body cannot be sent again, and an upgrade, is left with its 401; the next one has the new token.
type transport struct {
	tokens *tokenSource
	// failed is set when a request has no answer.
	failed *atomic.Bool
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	first, used, err := t.send(r)
	if err != nil || first.StatusCode != http.StatusUnauthorized {
		return first, err
	}
	t.tokens.refused(used)
	again := r.Clone(r.Context())
	switch {
	case r.Header.Get("Upgrade") != "":
		return first, nil
	case r.Body == nil || r.Body == http.NoBody:
	case r.GetBody == nil:
		return first, nil
	default:
		if again.Body, err = r.GetBody(); err != nil {
			return first, nil //nolint:nilerr // the first answer stands
		}
	}
	first.Body.Close()
	second, used, err := t.send(again)
	if err == nil && second.StatusCode == http.StatusUnauthorized {
		t.tokens.refused(used)
	}
	return second, err
}

func (t *transport) send(r *http.Request) (*http.Response, string, error) {
	bearer, err := t.tokens.get(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, "", err
	}
	signed := r.Clone(r.Context())
	signed.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := t.next.RoundTrip(signed)
	// Who gives a request up himself has not seen it fail.
	if err != nil && !errors.Is(r.Context().Err(), context.Canceled) {
		t.failed.Store(true)
	}
	return resp, bearer, err
}

// WrappedRoundTripper lets client-go find the transport below, to close its idle connections.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }
