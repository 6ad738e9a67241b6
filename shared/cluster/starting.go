package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startingTransport tells a user without a right from an API server that has not read its roles yet. For a second after its start a server
// refuses everybody but system:masters, because its authorizer knows no roles, with the same answer as for a right that is missing.
// Its /readyz, which every known user may read (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles), says ok only
// when it has read them. So what was refused is asked once more after a server said that it is ready, and is a server that is not available
// while it does not. A refused request had no effect.
type startingTransport struct{ next http.RoundTripper }

func (t startingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusForbidden || r.URL.Path == "/readyz" {
		return resp, err
	}
	if why := t.notReady(r); why != "" {
		_ = resp.Body.Close()
		return unavailable(r, why), nil
	}
	again := r.Clone(r.Context())
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil
		}
		if again.Body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the first answer stands
		}
	}
	_ = resp.Body.Close()
	return t.next.RoundTrip(again)
}

// WrappedRoundTripper lets client-go find the transport below, to close its idle connections.
func (t startingTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// notReady asks the server whether it is ready, as the user of the request, and says what it answered otherwise.
func (t startingTransport) notReady(r *http.Request) string {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	ask := r.Clone(ctx)
	ask.Method, ask.Body, ask.GetBody, ask.ContentLength = http.MethodGet, http.NoBody, nil, 0
	ask.URL.Path, ask.URL.RawPath, ask.URL.RawQuery = "/readyz", "", ""
	ask.Header.Del("Content-Type")
	resp, err := t.next.RoundTrip(ask)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, readLimit))                // so that the connection is kept
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound { // ready, or it does not say
		return ""
	}
	return resp.Status
}

// unavailable is the answer of a server that is not ready.
func unavailable(r *http.Request, why string) *http.Response {
	const code = http.StatusServiceUnavailable
	body, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: metav1.StatusReasonServiceUnavailable,
		Message: fmt.Sprintf("the API server refused %s %s, and is not ready (GET /readyz: %s): it may not have read its roles yet", r.Method, r.URL.Path, why),
	})
	return &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}
