package cluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/shared/fault"
)

// TestRefusedWhileStarting: a server that has not read its roles refuses everything, and that is no missing right.
func TestRefusedWhileStarting(t *testing.T) {
	const refused, ok = http.StatusForbidden, http.StatusOK
	for name, tc := range map[string]struct {
		// ready and create are the server's answers in turn; the last one stays.
		ready, create []int
		code          fault.Code
		asked         []string
	}{
		"allowed":                     {nil, []int{http.StatusCreated}, "", []string{"POST"}},
		"a right is missing":          {[]int{ok}, []int{refused}, fault.PermissionDenied, []string{"POST", "/readyz", "POST"}},
		"no role is known yet":        {[]int{refused}, []int{refused}, fault.Unavailable, []string{"POST", "/readyz"}},
		"not ready":                   {[]int{http.StatusInternalServerError}, []int{refused}, fault.Unavailable, []string{"POST", "/readyz"}},
		"roles were read in between":  {[]int{ok}, []int{refused, http.StatusCreated}, "", []string{"POST", "/readyz", "POST"}},
		"refused for another reason":  {nil, []int{http.StatusTooManyRequests}, fault.Throttled, []string{"POST"}},
		"the server goes in between":  {[]int{http.StatusBadGateway}, []int{refused}, fault.Unavailable, []string{"POST", "/readyz"}},
		"it knows no readiness":       {[]int{http.StatusNotFound}, []int{refused}, fault.PermissionDenied, []string{"POST", "/readyz", "POST"}},
		"its credentials are refused": {[]int{http.StatusUnauthorized}, []int{refused}, fault.Unavailable, []string{"POST", "/readyz"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			next := func(codes *[]int) int {
				c := (*codes)[0]
				if len(*codes) > 1 {
					*codes = (*codes)[1:]
				}
				return c
			}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("%s came without the credentials", r.URL.Path)
				}
				if r.URL.Path == "/readyz" {
					asked = append(asked, r.URL.Path)
					w.WriteHeader(next(&tc.ready))
					return
				}
				asked = append(asked, r.Method)
				w.Header().Set("Content-Type", "application/json")
				code := next(&tc.create)
				w.WriteHeader(code)
				fmt.Fprintf(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"code":%d}`, code)
			}))
			defer srv.Close()
			c, err := New(&rest.Config{Host: srv.URL, BearerToken: "secret"})
			if err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}}}
			_, err = c.Dynamic.Resource(ConfigMaps).Namespace("b").Create(t.Context(), u, metav1.CreateOptions{})
			if got := codeOf(Fault("create", err)); got != tc.code {
				t.Errorf("got %q (%v), want %q", got, err, tc.code)
			}
			if !slices.Equal(asked, tc.asked) {
				t.Errorf("asked %v, want %v", asked, tc.asked)
			}
			if tc.code == fault.Unavailable && (!apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "/readyz")) {
				t.Errorf("the error does not say why: %v", err)
			}
		})
	}
}
