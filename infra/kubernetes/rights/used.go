package rights

import (
	"net/http"
	"strings"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/audit"
)

// Call is a request that a function sent.
type Call struct {
	Right
	// Code is the answer's.
	Code int
	// Unauthorized tells that no role allowed it.
	Unauthorized bool
}

// Calls are the requests of the functions in an audit log. What every known user may do is left out: discovery and asking for one's own
// rights (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles).
func Calls(es []audit.Event) []Call {
	var out []Call
	for _, e := range es {
		f := kubernetes.FunctionOf(e.User.Groups)
		if f == "" || e.Review() {
			continue
		}
		c := Call{Right: Right{Function: f, Verb: e.Verb}, Code: e.Response.Code, Unauthorized: e.Unauthorized()}
		o := e.Object
		if o.Resource == "" {
			c.Resource, _, _ = strings.Cut(e.URI, "?")
			if c.Resource == "/api" || strings.HasPrefix(c.Resource, "/api/") || strings.HasPrefix(c.Resource, "/apis") || strings.HasPrefix(c.Resource, "/openapi") {
				continue
			}
			out = append(out, c)
			continue
		}
		c.Resource = inGroup(o.Resource, o.APIGroup)
		if o.Subresource != "" {
			c.Resource += "/" + o.Subresource
		}
		c.Name = o.Name
		if o.Resource != "namespaces" { // the log names the namespace itself
			c.Namespace = o.Namespace
		}
		out = append(out, c)
		if needsCreate(c) {
			c.Verb = "create"
			out = append(out, c)
		}
	}
	return out
}

// needsCreate tells of a request that the API server let through because its user may create as well, which the log does not show:
// a server-side apply of what was not there, and a connection to a pod over a websocket, which is a get
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/, https://kubernetes.io/blog/2025/12/17/kubernetes-v1-35-release/).
func needsCreate(c Call) bool {
	return c.Verb == "patch" && c.Code == http.StatusCreated ||
		c.Verb == "get" && strings.HasSuffix(c.Resource, "/portforward")
}

// Used turns calls into the rights that they need: the name and the namespace of an object stay only where nothing but a rule for this
// name, or a Role of this namespace, grants it. A call that nothing grants keeps neither, so that it is one line however often it came.
func Used(calls []Call, granted []Right) []Right {
	have := map[Right]bool{}
	for _, r := range granted {
		have[r] = true
	}
	var out []Right
	for _, c := range calls {
		out = append(out, narrowest(c.Right, have))
	}
	return Distinct(out)
}

func narrowest(r Right, granted map[Right]bool) Right {
	wide := Right{Function: r.Function, Verb: r.Verb, Resource: r.Resource}
	every := wide
	every.Resource = Every
	for _, try := range []Right{wide, with(wide, "", r.Name), with(wide, r.Namespace, ""), with(wide, r.Namespace, r.Name), every} {
		if granted[try] {
			return try
		}
	}
	return wide
}

func with(r Right, namespace, name string) Right {
	r.Namespace, r.Name = namespace, name
	return r
}

// Refused are the calls that the API server refused, because no role granted them or because of the admission policy. What a role grants and
// was refused as unauthorized is left out: an API server that has just started has not read its roles.
func Refused(calls []Call, granted []Right) []Right {
	have := map[Right]bool{}
	for _, r := range granted {
		have[r] = true
	}
	var out []Right
	for _, c := range calls {
		if c.Code == http.StatusForbidden && (!c.Unauthorized || !have[narrowest(c.Right, have)]) {
			out = append(out, c.Right)
		}
	}
	return Distinct(out)
}
