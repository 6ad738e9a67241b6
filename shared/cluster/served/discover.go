package served

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// accept asks for all groups, versions and resources in one answer, which servers give from 1.26 on (v2 from 1.30), and takes the list of
// groups alone from those that do not: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery.
const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

// aggregated is the part that is needed of APIGroupDiscoveryList (k8s.io/api/apidiscovery/v2; v2beta1 has the same fields).
type aggregated struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Versions []struct {
			Version   string `json:"version"`
			Resources []struct {
				Resource     string                   `json:"resource"`
				ResponseKind *metav1.GroupVersionKind `json:"responseKind"`
				Scope        string                   `json:"scope"`
				Verbs        []string                 `json:"verbs"`
			} `json:"resources"`
			// Freshness is Current, or Stale when the resources could not be read from the server behind this one.
			Freshness string `json:"freshness"`
		} `json:"versions"`
	} `json:"items"`
}

var errStale = errors.New("the API server could not discover it")

// discover reads the core group and the named ones.
func discover(ctx context.Context, c rest.Interface) ([]Group, error) {
	out := []Group{}
	for _, root := range []string{"/api", "/apis"} {
		body, err := get(ctx, c, root)
		if apierrors.IsNotFound(err) {
			continue // a server without core group, or without any other
		}
		if err != nil {
			return nil, err
		}
		groups, err := parse(root, body)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			for i := range g.Versions {
				if v := &g.Versions[i]; errors.Is(v.Err, errNotRead) {
					v.Resources, v.Err = versionOf(ctx, c, root, v.GroupVersion)
				}
			}
			out = append(out, g)
		}
	}
	return out, nil
}

// get reads a path, with the retries of client-go for a server that says Retry-After.
func get(ctx context.Context, c rest.Interface, path string) ([]byte, error) {
	return c.Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(ctx)
}

// errNotRead marks a version whose resources have to be asked for.
var errNotRead = errors.New("not read yet")

// parse reads the answer to /api or /apis: everything, or only the names.
func parse(path string, body []byte) ([]Group, error) {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, fmt.Errorf("discovery: GET %s: %w", path, err)
	}
	var err error
	var out []Group
	switch kind.Kind {
	case "APIGroupDiscoveryList":
		var l aggregated
		if err = json.Unmarshal(body, &l); err == nil {
			out = l.groups()
		}
	case "APIVersions":
		var l metav1.APIVersions
		if err = json.Unmarshal(body, &l); err == nil && len(l.Versions) > 0 {
			g := Group{}
			for _, v := range l.Versions {
				g.Versions = append(g.Versions, Version{GroupVersion: schema.GroupVersion{Version: v}, Err: errNotRead})
			}
			out = []Group{g}
		}
	case "APIGroupList":
		var l metav1.APIGroupList
		if err = json.Unmarshal(body, &l); err == nil {
			out = groupsOf(l)
		}
	default:
		err = fmt.Errorf("its kind is %q, expected APIGroupDiscoveryList, APIVersions or APIGroupList", kind.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: GET %s: %w", path, err)
	}
	return out, nil
}

func (l aggregated) groups() []Group {
	var out []Group
	for _, item := range l.Items {
		g := Group{Name: item.Metadata.Name}
		for _, iv := range item.Versions {
			v := Version{GroupVersion: schema.GroupVersion{Group: g.Name, Version: iv.Version}}
			if iv.Freshness == "Stale" {
				v.Err = fmt.Errorf("%s: %w", v.GroupVersion, errStale)
			}
			for _, r := range iv.Resources {
				// Without a kind it is only the parent of a subresource.
				if r.ResponseKind == nil || r.ResponseKind.Kind == "" {
					continue
				}
				v.Resources = append(v.Resources, Resource{v.WithResource(r.Resource), r.ResponseKind.Kind, r.Scope == "Namespaced", r.Verbs})
			}
			g.Versions = append(g.Versions, v)
		}
		if len(g.Versions) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func groupsOf(l metav1.APIGroupList) []Group {
	var out []Group
	for _, item := range l.Groups {
		g := Group{Name: item.Name}
		for _, v := range item.Versions {
			g.Versions = append(g.Versions, Version{GroupVersion: schema.GroupVersion{Group: item.Name, Version: v.Version}, Err: errNotRead})
		}
		slices.SortStableFunc(g.Versions, func(a, b Version) int {
			return preference(item, a.Version) - preference(item, b.Version)
		})
		if len(g.Versions) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func preference(g metav1.APIGroup, version string) int {
	if version == g.PreferredVersion.Version {
		return 0
	}
	return 1
}

// versionOf reads the resources of one version.
func versionOf(ctx context.Context, c rest.Interface, root string, gv schema.GroupVersion) ([]Resource, error) {
	path := root + "/" + gv.String()
	body, err := get(ctx, c, path)
	if err != nil {
		return nil, err
	}
	var l metav1.APIResourceList
	if err := json.Unmarshal(body, &l); err != nil {
		return nil, fmt.Errorf("discovery: GET %s: %w", path, err)
	}
	var out []Resource
	for _, r := range l.APIResources {
		if !strings.Contains(r.Name, "/") {
			out = append(out, Resource{gv.WithResource(r.Name), r.Kind, r.Namespaced, r.Verbs})
		}
	}
	return out, nil
}
