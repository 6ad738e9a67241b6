package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/shared/cluster"
)

// authorizer is an API server that answers access reviews and nothing else.
type authorizer struct {
	t       *testing.T
	allowed func(Access) bool

	mu    sync.Mutex
	asked []Access
}

func (a *authorizer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		var in authorizationv1.SelfSubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Spec.ResourceAttributes == nil {
			a.t.Errorf("not a review of a resource: %v", err)
			http.Error(rw, "not a review of a resource", http.StatusBadRequest)
			return
		}
		q := in.Spec.ResourceAttributes
		access := Access{Verb: q.Verb, Group: q.Group, Resource: q.Resource, Subresource: q.Subresource, Namespace: q.Namespace, Name: q.Name}
		a.mu.Lock()
		a.asked = append(a.asked, access)
		a.mu.Unlock()
		in.Status.Allowed = a.allowed(access)
		a.answer(rw, in)
	case "POST /apis/authentication.k8s.io/v1/selfsubjectreviews":
		var out authenticationv1.SelfSubjectReview
		out.APIVersion, out.Kind, out.Status.UserInfo.Username = "authentication.k8s.io/v1", "SelfSubjectReview", "operator"
		a.answer(rw, out)
	default:
		a.t.Errorf("%s %s was not expected", r.Method, r.URL.Path)
		http.NotFound(rw, r)
	}
}

func (a *authorizer) answer(rw http.ResponseWriter, v any) {
	rw.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(rw).Encode(v); err != nil {
		a.t.Error(err)
	}
}

// TestManyObjectsOfAKind: about many objects of a kind one question is asked first, and only its yes spares the questions by name.
func TestManyObjectsOfAKind(t *testing.T) {
	kind := Access{Verb: "get", Resource: "configmaps", Namespace: "shop"}
	other := Access{Verb: "patch", Resource: "configmaps", Namespace: "shop", Name: "c00"}
	elsewhere := Access{Verb: "get", Resource: "configmaps", Namespace: "bank", Name: "c00"}
	named := func(n int) []Access {
		var out []Access
		for i := range n {
			a := kind
			a.Name = fmt.Sprintf("c%02d", i)
			out = append(out, a)
		}
		return out
	}
	many, few := named(fewNames+1), named(fewNames)
	but := func(no ...Access) func(Access) bool { return func(a Access) bool { return !slices.Contains(no, a) } }
	for _, tc := range []struct {
		name    string
		need    []Access
		allowed func(Access) bool
		asked   []Access
		missing []Access
	}{
		{"the kind is allowed: no name is asked about", many, but(), []Access{kind}, nil},
		{"the kind is allowed, whatever is said of a name", many, but(many[3]), []Access{kind}, nil},
		{"the kind is refused, each name allowed", many, but(kind), append([]Access{kind}, many...), nil},
		{"the kind is refused, and one name", many, but(kind, many[3]), append([]Access{kind}, many...), []Access{many[3]}},
		{"few names: the kind is not asked about", few, but(few[3]), few, []Access{few[3]}},
		{"another verb and another namespace are other kinds", slices.Concat(many, []Access{other, elsewhere}), but(other, elsewhere),
			[]Access{kind, other, elsewhere}, []Access{other, elsewhere}},
		{"the kind itself is needed too, and refused", slices.Concat(many, []Access{kind}), but(kind),
			slices.Concat([]Access{kind}, many, []Access{kind}), []Access{kind}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := &authorizer{t: t, allowed: tc.allowed}
			srv := httptest.NewServer(server)
			defer srv.Close()
			c, err := cluster.New(&rest.Config{Host: srv.URL})
			if err != nil {
				t.Fatal(err)
			}
			need := slices.Clone(tc.need)
			err = preflight(t.Context(), c, "recover", need)
			var m *Missing
			switch {
			case tc.missing == nil && err != nil:
				t.Errorf("%v, expected nothing missing", err)
			case tc.missing != nil && !errors.As(err, &m):
				t.Errorf("%v, expected what is missing", err)
			case tc.missing != nil:
				if diff := cmp.Diff(&Missing{User: "operator", Mode: "recover", List: tc.missing}, m); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff(sorted(tc.asked), sorted(server.asked)); diff != "" {
				t.Error("asked:", diff)
			}
			if !slices.Equal(need, tc.need) {
				t.Error("the caller's list was changed")
			}
		})
	}
}

// sorted is the questions in an order that does not depend on which was sent first.
func sorted(list []Access) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out
}
