package change

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// mishap is what becomes of the next request that changes something.
type mishap struct {
	// refuse is the status that it is refused with, unexecuted; after is its Retry-After.
	refuse int
	after  string
	// drop closes the connection instead of the answer, once the change was made.
	drop bool
}

// apiServer is an API server of the ConfigMaps of one namespace on the wire, with mishaps.
type apiServer struct {
	mu      sync.Mutex
	objects map[string][]byte
	next    *mishap
	// changes are those that were made; asked are all requests that would change something.
	changes []string
	asked   int
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	const collection = "/api/v1/namespaces/shop/configmaps"
	discovery := map[string]string{"/api": `{"kind":"APIVersions","versions":["v1"]}`, "/apis": `{"kind":"APIGroupList","groups":[]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["create"]}]}`}
	if d, ok := discovery[r.URL.Path]; ok {
		_, _ = io.WriteString(w, d)
		return
	}
	name, rehearsed := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, collection), "/"), r.URL.Query().Has("dryRun")
	if changes := r.Method != http.MethodGet && !rehearsed; changes {
		s.asked++
		if m := s.next; m != nil {
			s.next = nil
			if m.refuse != 0 {
				if m.after != "" {
					w.Header().Set("Retry-After", m.after)
				}
				refuse(w, m.refuse)
				return
			}
			defer panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		defer func() { s.changes = append(s.changes, r.Method) }()
	}
	have := s.objects[name]
	switch r.Method {
	case http.MethodPost:
		var o struct{ Metadata struct{ Name string } }
		_ = json.Unmarshal(body, &o)
		if s.objects[o.Metadata.Name] != nil {
			refuse(w, http.StatusConflict)
			return
		}
		name, have = o.Metadata.Name, []byte(`{"metadata":{"uid":"made"}}`)
	case http.MethodDelete:
		delete(s.objects, name)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		return
	case http.MethodPatch:
		if have == nil {
			have = []byte(`{"metadata":{"uid":"made"}}`)
		}
	default:
		if have == nil {
			refuse(w, http.StatusNotFound)
			return
		}
		_, _ = w.Write(have)
		return
	}
	var o, patch map[string]any
	if json.Unmarshal(have, &o) != nil || json.Unmarshal(body, &patch) != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	merge(o, patch)
	merged, _ := json.Marshal(o)
	if !rehearsed {
		s.objects[name] = merged
	}
	_, _ = w.Write(merged)
}

// merge is what JSON merge patch and, for these objects, server-side apply do.
func merge(o, patch map[string]any) {
	for k, v := range patch {
		inner, ok := v.(map[string]any)
		if have, both := o[k].(map[string]any); ok && both {
			merge(have, inner)
			continue
		}
		o[k] = v
	}
}

func refuse(w http.ResponseWriter, code int) {
	reason := map[int]string{http.StatusNotFound: "NotFound", http.StatusTooManyRequests: "TooManyRequests", http.StatusUnauthorized: "Unauthorized"}[code]
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "refused"})
}

// TestMishaps: whatever becomes of a change on its way, the step ends with the fault that says what to do, and the same call once more
// leaves one change made, and one intent written for it at least.
func TestMishaps(t *testing.T) {
	have := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"have","namespace":"shop","uid":"u1","labels":{"fallbackchain.io/run":"run-1","app.kubernetes.io/managed-by":"fallback-chain"}},"data":{"k":"old"}}`
	ref := Ref{GVR: cluster.ConfigMaps, Kind: "ConfigMap", Namespace: "shop", Name: "have", UID: types.UID("u1")}
	for verb, do := range map[string]func(context.Context, *Changer) error{
		"create": func(ctx context.Context, c *Changer) error {
			_, err := c.Create(ctx, configMap("new", nil, ""), "test")
			return err
		},
		"apply anew": func(ctx context.Context, c *Changer) error {
			_, err := c.Apply(ctx, configMap("new", nil, ""), false, "test")
			return err
		},
		"apply": func(ctx context.Context, c *Changer) error {
			_, err := c.Apply(ctx, configMap("have", nil, ""), true, "test")
			return err
		},
		"patch": func(ctx context.Context, c *Changer) error {
			_, err := c.Patch(ctx, ref, types.MergePatchType, []byte(`{"data":{"k":"new"}}`), "", "test", journal.UndoRestore)
			return err
		},
		"delete": func(ctx context.Context, c *Changer) error { return c.Delete(ctx, ref, DeleteOptions{}, "test") },
	} {
		for _, m := range []struct {
			name string
			mishap
			want fault.Code
		}{
			{"throttled, with Retry-After: the client waits for it", mishap{refuse: http.StatusTooManyRequests, after: "0"}, ""},
			{"throttled", mishap{refuse: http.StatusTooManyRequests}, fault.Throttled},
			{"unauthorized", mishap{refuse: http.StatusUnauthorized}, fault.Unauthorized},
			{"unavailable", mishap{refuse: http.StatusServiceUnavailable}, fault.Unavailable},
			{"the answer is lost after the change", mishap{drop: true}, fault.Unavailable},
		} {
			t.Run(verb+": "+m.name, func(t *testing.T) {
				api := &apiServer{objects: map[string][]byte{"have": []byte(have)}}
				srv := httptest.NewServer(api)
				defer srv.Close()
				client, err := cluster.New(&rest.Config{Host: srv.URL})
				if err != nil {
					t.Fatal(err)
				}
				j, err := (&journal.Files{Dir: t.TempDir()}).Open(t.Context(), "run-1")
				if err != nil {
					t.Fatal(err)
				}
				c := &Changer{Client: client.Dynamic, Mapper: client.Mapper, Journal: j, Guard: guard{}, Scope: Scope{Namespace: "shop", Run: "run-1"},
					Run: "run-1", Plan: "shop", State: "S", Now: func() time.Time { return time.Unix(1, 0) }}
				api.next = &m.mishap
				first := do(t.Context(), c)
				if f := fault.From(first); (f == nil) != (m.want == "") || (f != nil && f.Code != m.want) {
					t.Errorf("it ended with %v, expected %q", first, m.want)
				}
				if err := do(t.Context(), c); err != nil {
					t.Errorf("once more: %v", err)
				}
				if len(api.changes) != 1 {
					t.Errorf("changes made: %v, expected one", api.changes)
				}
				// What was executed is not sent again; what was refused is, once.
				if want := map[bool]int{true: 1, false: 2}[m.drop]; api.asked != want {
					t.Errorf("%d requests, expected %d", api.asked, want)
				}
				entries, err := j.Entries(t.Context())
				if err != nil || len(entries) == 0 {
					t.Fatalf("journal: %v, %v", entries, err)
				}
				// A lost answer leaves the intent open: undoing must look. A refusal closes it.
				if open := entries[0].Done == nil; open != (m.want == fault.Unavailable) {
					t.Errorf("the first intent is open: %t: %+v", open, entries[0].Done)
				}
			})
		}
	}
}
