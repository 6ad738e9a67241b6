package served_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"fallbackchain.io/fallback/shared/cluster/served"
)

// server is the discovery of an API server: what each path answers, and how often it was asked.
type server struct {
	*httptest.Server
	paths map[string]string
	asked []string
	// refuse is answered once, before everything else.
	refuse int
}

func newServer(t *testing.T, paths map[string]string) *server {
	t.Helper()
	s := &server{paths: paths}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked = append(s.asked, r.URL.Path)
		if s.refuse != 0 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(s.refuse)
			s.refuse = 0
			return
		}
		body, ok := s.paths[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		kind := "application/json"
		if strings.Contains(body, "APIGroupDiscoveryList") {
			kind += ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) apis(t *testing.T, now func() time.Time) *served.APIs {
	t.Helper()
	c, err := rest.UnversionedRESTClientFor(dynamic.ConfigFor(&rest.Config{Host: s.URL}))
	if err != nil {
		t.Fatal(err)
	}
	return &served.APIs{Server: c, Now: now}
}

// together is how a server answers that tells everything at once, apart how one does that does not; both serve the same.
var together = map[string]string{
	"/api": `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{},"versions":[{"version":"v1","freshness":"Current","resources":[
{"resource":"pods","responseKind":{"group":"","version":"v1","kind":"Pod"},"scope":"Namespaced","singularResource":"pod","verbs":["list","create"],"subresources":[{"subresource":"log","responseKind":{"group":"","version":"v1","kind":"Pod"},"verbs":["get"]}]},
{"resource":"nodes","responseKind":{"group":"","version":"v1","kind":"Node"},"scope":"Cluster","singularResource":"node","verbs":["list"]}]}]}]}`,
	"/apis": `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
{"metadata":{"name":"autoscaling"},"versions":[
 {"version":"v2","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["list"]}]},
 {"version":"v1","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"autoscaling","version":"v1","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["list"]},
  {"resource":"olds","responseKind":{"group":"autoscaling","version":"v1","kind":"Old"},"scope":"Namespaced","singularResource":"old","verbs":["list"]}]}]},
{"metadata":{"name":"example.com"},"versions":[{"version":"v1","freshness":"Stale","resources":[]}]}]}`,
}

var apart = map[string]string{
	"/api": `{"kind":"APIVersions","versions":["v1"]}`,
	"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","kind":"Pod","namespaced":true,"verbs":["list","create"]},
{"name":"pods/log","kind":"Pod","namespaced":true,"verbs":["get"]},{"name":"nodes","singularName":"node","kind":"Node","verbs":["list"]}]}`,
	"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[
{"name":"autoscaling","versions":[{"groupVersion":"autoscaling/v1","version":"v1"},{"groupVersion":"autoscaling/v2","version":"v2"}],"preferredVersion":{"groupVersion":"autoscaling/v2","version":"v2"}},
{"name":"example.com","versions":[{"groupVersion":"example.com/v1","version":"v1"}],"preferredVersion":{"groupVersion":"example.com/v1","version":"v1"}}]}`,
	"/apis/autoscaling/v1": `{"kind":"APIResourceList","groupVersion":"autoscaling/v1","resources":[{"name":"horizontalpodautoscalers","singularName":"horizontalpodautoscaler","kind":"HorizontalPodAutoscaler","namespaced":true,"verbs":["list"]},
{"name":"olds","singularName":"old","kind":"Old","namespaced":true,"verbs":["list"]}]}`,
	"/apis/autoscaling/v2": `{"kind":"APIResourceList","groupVersion":"autoscaling/v2","resources":[{"name":"horizontalpodautoscalers","singularName":"horizontalpodautoscaler","kind":"HorizontalPodAutoscaler","namespaced":true,"verbs":["list"]}]}`,
	// example.com/v1: 404, its server is away
}

// TestMappings asks for kinds of both servers, and client-go, which must find the same.
func TestMappings(t *testing.T) {
	for name, paths := range map[string]map[string]string{"aggregated": together, "not aggregated": apart} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, paths)
			apis := s.apis(t, time.Now)
			judge := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: s.URL})))
			for _, c := range []struct {
				group, kind string
				versions    []string
				want        string
			}{
				{"", "Pod", []string{"v1"}, "/v1 pods namespace"},
				{"", "Node", nil, "/v1 nodes root"},
				{"", "Nothing", nil, "not served"},
				{"autoscaling", "HorizontalPodAutoscaler", nil, "autoscaling/v2 horizontalpodautoscalers namespace"},
				{"autoscaling", "HorizontalPodAutoscaler", []string{""}, "autoscaling/v2 horizontalpodautoscalers namespace"},
				{"autoscaling", "HorizontalPodAutoscaler", []string{"v1"}, "autoscaling/v1 horizontalpodautoscalers namespace"},
				{"autoscaling", "HorizontalPodAutoscaler", []string{"v3", "v1"}, "autoscaling/v1 horizontalpodautoscalers namespace"},
				{"autoscaling", "HorizontalPodAutoscaler", []string{"v3"}, "not served"},
				{"autoscaling", "Old", nil, "autoscaling/v1 olds namespace"},
				{"autoscaling", "Old", []string{"v2"}, "not served"},
				{"nowhere", "Pod", []string{"v1"}, "not served"},
			} {
				gk := schema.GroupKind{Group: c.group, Kind: c.kind}
				if got := said(apis.RESTMapping(gk, c.versions...)); got != c.want {
					t.Errorf("%s %v: %s, expected %s", gk, c.versions, got, c.want)
				}
				if got := said(judge.RESTMapping(gk, c.versions...)); got != c.want {
					t.Errorf("client-go: %s %v: %s, expected %s", gk, c.versions, got, c.want)
				}
			}
			// What may be there and cannot be seen is not "not served".
			if got := said(apis.RESTMapping(schema.GroupKind{Group: "example.com", Kind: "Thing"}, "v1")); !strings.Contains(got, "Thing.example.com is served is not known") {
				t.Errorf("a group whose server is away: %s", got)
			}
		})
	}
}

func said(m *meta.RESTMapping, err error) string {
	switch {
	case meta.IsNoMatchError(err):
		return "not served"
	case err != nil:
		return err.Error()
	}
	return fmt.Sprintf("%s/%s %s %s", m.Resource.Group, m.Resource.Version, m.Resource.Resource, m.Scope.Name())
}

func TestNamespaced(t *testing.T) {
	for name, paths := range map[string]map[string]string{"aggregated": together, "not aggregated": apart} {
		t.Run(name, func(t *testing.T) {
			groups, err := newServer(t, paths).apis(t, time.Now).Groups(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all, unknown := served.Namespaced(groups)
			var got []string
			for _, r := range all {
				got = append(got, fmt.Sprintf("%s %s %t", r.GroupVersion(), r.Resource, r.Can("list", "create")))
			}
			if want := []string{"v1 pods true", "autoscaling/v2 horizontalpodautoscalers false", "autoscaling/v1 olds false"}; !slices.Equal(got, want) {
				t.Errorf("%q, expected %q", got, want)
			}
			if len(unknown) != 1 || unknown[0].String() != "example.com/v1" || unknown[0].Err == nil {
				t.Errorf("unknown: %+v", unknown)
			}
		})
	}
}

// TestReadAgain follows one process: discovery is read once, again for a kind that is missing, and again when it is old.
func TestReadAgain(t *testing.T) {
	s := newServer(t, map[string]string{"/api": together["/api"], "/apis": together["/apis"]})
	now := time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)
	apis := s.apis(t, func() time.Time { return now })
	const late = `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"late.io"},"versions":[{"version":"v1","freshness":"Current","resources":[{"resource":"things","responseKind":{"kind":"Thing"},"scope":"Cluster","verbs":["list"]}]}]}]}`
	for _, step := range []struct {
		name        string
		pass        time.Duration
		serve       string
		group, kind string
		want        string
		asked       int
	}{
		{"first", 0, "", "", "Pod", "/v1 pods namespace", 2},
		{"kept", 59 * time.Second, "", "", "Node", "/v1 nodes root", 0},
		{"a missing kind", 0, "", "late.io", "Thing", "not served", 2},
		{"and at once another", 0, "", "late.io", "Other", "not served", 0},
		{"it was installed", 2 * time.Second, late, "late.io", "Thing", "late.io/v1 things root", 2},
		{"kept, too", 59 * time.Second, together["/apis"], "late.io", "Thing", "late.io/v1 things root", 0},
		{"old", time.Second, "", "late.io", "Thing", "not served", 2},
	} {
		now, s.asked = now.Add(step.pass), nil
		if step.serve != "" {
			s.paths["/apis"] = step.serve
		}
		if got := said(apis.RESTMapping(schema.GroupKind{Group: step.group, Kind: step.kind})); got != step.want || len(s.asked) != step.asked {
			t.Errorf("%s: %s after %v, expected %s after %d requests", step.name, got, s.asked, step.want, step.asked)
		}
	}
}

// TestAnswers that are none: the error is the API server's own, and nothing is known; a 429 is asked again when it says so.
func TestAnswers(t *testing.T) {
	s := newServer(t, map[string]string{"/api": together["/api"], "/apis": together["/apis"]})
	apis := s.apis(t, time.Now)
	s.refuse = http.StatusForbidden
	if _, err := apis.Groups(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("403: %v", err)
	}
	if s.refuse, s.asked = http.StatusTooManyRequests, nil; true {
		if g, err := apis.Groups(t.Context()); err != nil || len(g) != 3 || !slices.Equal(s.asked, []string{"/api", "/api", "/apis"}) {
			t.Errorf("429: %v, asked %v", err, s.asked)
		}
	}
	for name, body := range map[string]string{"no JSON": `<html>`, "another kind": `{"kind":"Status"}`, "another type": `{"kind":"APIGroupList","groups":5}`} {
		s := newServer(t, map[string]string{"/apis": body})
		if g, err := s.apis(t, time.Now).Groups(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /apis") {
			t.Errorf("%s: %v, %v", name, g, err)
		}
	}
}
