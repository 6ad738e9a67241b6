package quarantine

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/quarantine"
	"fallbackchain.io/fallback/shared/step"
)

// otherPolicies looks for policies that are not NetworkPolicies and hold, too: opens are those of administrators that let more through,
// unjudged are those of a network plugin's own, of which only a probe can tell. What the cluster does not serve is not there;
// what it serves and may not be read is an error.
func otherPolicies(ctx context.Context, s *step.Session) (opens, unjudged []string, err error) {
	groups, err := s.Cluster.Discovery.Groups(ctx)
	if err != nil {
		return nil, nil, cluster.Fault("discover the API groups", err)
	}
	var labels map[string]string
	for _, g := range groups {
		admin, other := quarantine.AdminGroups[g.Name], quarantine.OtherGroups[g.Name]
		if len(admin)+len(other) == 0 {
			continue
		}
		if labels == nil {
			ns, err := cluster.Get[corev1.Namespace](ctx, s.Cluster, cluster.Namespaces, "", s.Target())
			if err != nil {
				return nil, nil, cluster.Fault("read namespace "+s.Target(), err)
			}
			labels = ns.Labels
		}
		preferred := g.Versions[0]
		if preferred.Err != nil {
			return nil, nil, cluster.Fault("discover "+preferred.String(), preferred.Err)
		}
		for _, r := range preferred.Resources {
			if !slices.Contains(append(slices.Clone(admin), other...), r.Kind) {
				continue
			}
			found, err := policiesOf(ctx, s, r.GroupVersionResource, r.Namespaced)
			if err != nil {
				return nil, nil, err
			}
			for i := range found {
				if slices.Contains(other, r.Kind) {
					unjudged = append(unjudged, fmt.Sprintf("%s %s (%s) is not judged", r.Kind, found[i].GetName(), g.Name))
				} else if what := quarantine.AdminOpening(&found[i], labels); what != "" {
					opens = append(opens, what)
				}
			}
		}
	}
	return opens, unjudged, nil
}

func policiesOf(ctx context.Context, s *step.Session, gvr schema.GroupVersionResource, namespaced bool) ([]unstructured.Unstructured, error) {
	ns := ""
	if namespaced {
		ns = s.Target()
	}
	l, err := s.Cluster.Dynamic.Resource(gvr).Namespace(ns).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil // it went away since discovery
	}
	if err != nil {
		return nil, cluster.Fault("list "+gvr.GroupResource().String(), err)
	}
	return l.Items, nil
}
