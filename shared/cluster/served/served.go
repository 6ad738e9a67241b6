// Package served knows what one API server serves, by the server's own discovery, and maps kinds to resources. It is a small part of
// client-go/discovery and client-go/restmapper, which link every version of every API into each program (a third of a function).
package served

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

const (
	// maxAge is how long what was read is used: a function's process lives for hours, and what is installed meanwhile counts.
	maxAge = time.Minute
	// again is how old at least what was read must be before a kind that is not in it has it read once more.
	again = time.Second
	// mapTimeout bounds a mapping, whose interface takes no context.
	mapTimeout = 15 * time.Second
)

// Resource is something that can be listed, created and so on; subresources are left out.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Verbs      []string
}

// Can tells whether the server allows all of the verbs on the resource, to anybody.
func (r Resource) Can(verbs ...string) bool {
	return !slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(r.Verbs, v) })
}

// Version is one version of a group.
type Version struct {
	schema.GroupVersion
	Resources []Resource
	// Err is why the resources are not known, e.g. because an extension API server does not answer.
	Err error
}

// Group is an API group; the core group's name is "". The preferred version is the first, and there is one at least.
type Group struct {
	Name     string
	Versions []Version
}

// APIs reads what a server serves when it is asked for the first time, and again when that is old or a kind is missing. Safe for
// concurrent use. Errors are the API server's own.
type APIs struct {
	Server rest.Interface
	Now    func() time.Time

	mu     sync.Mutex
	groups []Group
	read   time.Time
}

// Groups lists all groups, read at most a minute ago. The slice is not to be changed.
func (a *APIs) Groups(ctx context.Context) ([]Group, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.younger(ctx, maxAge)
}

// younger returns what was read less than age ago, or reads it. What is known stays known when reading fails, for the next to ask again.
func (a *APIs) younger(ctx context.Context, age time.Duration) ([]Group, error) {
	now := a.Now()
	if a.groups != nil && now.Sub(a.read) < age {
		return a.groups, nil
	}
	groups, err := discover(ctx, a.Server)
	if err != nil {
		return nil, err
	}
	a.groups, a.read = groups, now
	return groups, nil
}

// RESTMapping finds a kind's resource in the first of the versions that has it, or, when none is given, in the group's preferred version,
// then in its others. As in the API machinery, the error of a kind that is not served is one of meta.IsNoMatchError; a kind that may be
// served, in a version that could not be discovered, is another.
func (a *APIs) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	ctx, cancel := context.WithTimeout(context.Background(), mapTimeout)
	defer cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, age := range []time.Duration{maxAge, again} {
		groups, err := a.younger(ctx, age)
		if err != nil {
			return nil, err
		}
		m, err := find(groups, gk, versions)
		if err == nil || age == again {
			return m, err
		}
	}
	return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}

func find(groups []Group, gk schema.GroupKind, versions []string) (*meta.RESTMapping, error) {
	versions = slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return v == "" })
	var unknown error
	i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == gk.Group })
	if i >= 0 {
		in := groups[i].Versions
		if len(versions) > 0 {
			in = nil
			for _, v := range versions {
				in = append(in, slices.Collect(only(groups[i].Versions, v))...)
			}
		}
		for _, v := range in {
			if v.Err != nil {
				unknown = fmt.Errorf("whether %s is served is not known: %w", gk, v.Err)
				continue
			}
			for _, r := range v.Resources {
				if r.Kind == gk.Kind {
					return mapping(r), nil
				}
			}
		}
	}
	if unknown != nil {
		return nil, unknown
	}
	return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}

func only(vs []Version, name string) func(func(Version) bool) {
	return func(yield func(Version) bool) {
		for _, v := range vs {
			if v.Version == name && !yield(v) {
				return
			}
		}
	}
}

func mapping(r Resource) *meta.RESTMapping {
	scope := meta.RESTScope(meta.RESTScopeRoot)
	if r.Namespaced {
		scope = meta.RESTScopeNamespace
	}
	return &meta.RESTMapping{Resource: r.GroupVersionResource, GroupVersionKind: r.GroupVersion().WithKind(r.Kind), Scope: scope}
}

// Namespaced lists the resources that have a namespace, each once, in its group's preferred version or, where that has it not, in the
// first that has; unknown are the versions that could not be discovered, whose resources are therefore missing from the list.
func Namespaced(groups []Group) (out []Resource, unknown []Version) {
	seen := map[schema.GroupResource]bool{}
	for _, g := range groups {
		for _, v := range g.Versions {
			if v.Err != nil {
				unknown = append(unknown, v)
			}
			for _, r := range v.Resources {
				if gr := r.GroupResource(); r.Namespaced && !seen[gr] {
					seen[gr] = true
					out = append(out, r)
				}
			}
		}
	}
	return out, unknown
}
