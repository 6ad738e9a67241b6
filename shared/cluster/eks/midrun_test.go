package eks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
)

// watched is an API server with a watch that is open until end is closed, and tokens that it stops to accept.
type watched struct {
	mu     sync.Mutex
	accept []string
	phase  string
	seen   []string
	end    chan struct{}
}

func (s *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	watch := r.URL.Query().Get("watch") != ""
	s.mu.Lock()
	ok, phase, end := slices.Contains(s.accept, bearer), s.phase, s.end
	verb := map[bool]string{true: "watch", false: "list"}[watch]
	s.seen = append(s.seen, fmt.Sprintf("%s %s %t", verb, bearer, ok))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !ok:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`)
	case watch:
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-end:
		case <-r.Context().Done():
		}
	default:
		_, _ = fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pg-0","namespace":"shop"},"status":{"phase":%q}}]}`, phase)
	}
}

// TestTokensEndInTheMiddleOfAWatch: while a step waits, its token is not accepted any more and the server ends the watch. The wait goes on
// with a new token and sees the change; when no token is accepted any more, it ends with Unauthorized.
func TestTokensEndInTheMiddleOfAWatch(t *testing.T) {
	for _, tc := range []struct {
		name   string
		accept []string
		ok     bool
		seen   string
		fault  fault.Code
	}{
		{"rotated", []string{"token-2"}, true, "watch token-1 true, list token-1 true, watch token-1 false, watch token-2 true, list token-2 true", ""},
		{"access taken away", nil, false, "watch token-1 true, list token-1 true, watch token-1 false, watch token-2 false", fault.Unauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &watched{accept: []string{"token-1"}, phase: "Pending", end: make(chan struct{})}
			srv := httptest.NewTLSServer(w)
			defer srv.Close()
			clusters := &Clusters{EKS: &describer{out: described(&server{Server: srv})}, Tokens: &numbered{now: time.Now, life: 14 * time.Minute}, Now: time.Now}
			c, err := clusters.Connect(t.Context(), "main", "eu-central-1")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			looked := 0
			ok, err := c.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.Pods, Namespace: "shop"}}, func(ctx context.Context) (bool, error) {
				ps, err := cluster.List[corev1.Pod](ctx, c, cluster.Pods, "shop", metav1.ListOptions{})
				if looked++; looked == 1 {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.accept, w.phase = tc.accept, "Running"
					close(w.end)
					w.end = make(chan struct{})
				}
				return err == nil && ps[0].Status.Phase == corev1.PodRunning, err
			})
			if ok != tc.ok {
				t.Errorf("ok %t, %v", ok, err)
			}
			if f := fault.From(cluster.Fault("wait", err)); (f == nil) != (tc.fault == "") || (f != nil && f.Code != tc.fault) {
				t.Errorf("%v, expected %q", err, tc.fault)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if got := strings.Join(w.seen, ", "); got != tc.seen {
				t.Errorf("the server saw\n%s\nexpected\n%s", got, tc.seen)
			}
		})
	}
}
