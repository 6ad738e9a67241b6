// Package rights compares what each function may do in a cluster (the roles in infra/kubernetes) with what it does: the calls that the
// API server's audit log shows of the function's own group while the scenarios run. What is granted beyond that has its reason in
// reasons.yaml.
package rights

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"fallbackchain.io/fallback/infra/recorded"
)

// Right is one verb of one function on one resource, as a role can grant it.
type Right struct {
	Function string
	Verb     string
	// Resource is the resource as a role names it, "pods/portforward", "statefulsets.apps", or a path as "/readyz".
	Resource string
	// Namespace is set where a Role grants the right, in its namespace only.
	Namespace string
	// Name is set where the rule names objects.
	Name string
}

// String is the right as a line of the recorded files and of reasons.yaml.
func (r Right) String() string {
	s := r.Function + " " + r.Verb + " " + r.Resource
	if r.Name != "" {
		s += " named " + r.Name
	}
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}

// Parse reads what String wrote.
func Parse(line string) (Right, error) {
	f := strings.Fields(line)
	if len(f) < 3 {
		return Right{}, fmt.Errorf("right %q: expected a function, a verb and a resource", line)
	}
	r := Right{Function: f[0], Verb: f[1], Resource: f[2]}
	for rest := f[3:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) < 2 {
			return Right{}, fmt.Errorf("right %q: %q says nothing", line, rest[0])
		}
		switch {
		case rest[0] == "named" && r.Name == "" && r.Namespace == "":
			r.Name = rest[1]
		case rest[0] == "in" && r.Namespace == "":
			r.Namespace = rest[1]
		default:
			return Right{}, fmt.Errorf("right %q: %q is not expected there", line, rest[0])
		}
	}
	return r, nil
}

// Compare orders rights by function, resource and verb.
func Compare(a, b Right) int {
	key := func(r Right) string {
		return strings.Join([]string{r.Function, r.Resource, r.Verb, r.Namespace, r.Name}, "\x00")
	}
	return strings.Compare(key(a), key(b))
}

// Distinct sorts rights and leaves each once.
func Distinct(list []Right) []Right {
	out := slices.Clone(list)
	slices.SortFunc(out, Compare)
	return slices.Compact(out)
}

// Minus are the rights of a that are not in b.
func Minus(a, b []Right) []Right {
	have := map[Right]bool{}
	for _, r := range b {
		have[r] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(r Right) bool { return have[r] })
}

// Read reads a recorded file: a right a line, and a comment where only some runs use it.
func Read(in io.Reader) (recorded.Record[Right], error) { return recorded.Read(in, Parse) }
