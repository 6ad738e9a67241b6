// Package owners finds what would undo a change of a StatefulSet's replicas: autoscalers, operators and GitOps controllers set
// them back. Before a scale-down each must be paused in the way that the plan says, or the scale-down is refused.
package owners

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
)

// mark is a label or annotation by which a controller marks what it manages; its value names the owner unless Name is set.
type mark struct {
	key  string
	kind string
	// name turns the value into the owner's name; nil takes the value.
	name func(string) string
}

// marks of the controllers that are in wide use:
//   - Argo CD: annotation <app>:<group>/<kind>:<namespace>/<name>, or its own label
//     (https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/)
//   - Flux: labels <group>/name (https://fluxcd.io/flux/components/kustomize/kustomizations/, .../helm/helmreleases/)
//   - Config Sync: annotation configmanagement.gke.io/managed: enabled
//   - Rancher Fleet: label objectset.rio.cattle.io/hash, kapp: label kapp.k14s.io/app
func marks() []mark {
	fixed := func(n string) func(string) string { return func(string) string { return n } }
	return []mark{
		{"argocd.argoproj.io/tracking-id", "Application", func(v string) string { app, _, _ := strings.Cut(v, ":"); return app }},
		{"argocd.argoproj.io/instance", "Application", nil},
		{"kustomize.toolkit.fluxcd.io/name", "Kustomization", nil},
		{"helm.toolkit.fluxcd.io/name", "HelmRelease", nil},
		{"configmanagement.gke.io/managed", "RootSync", fixed("config-sync")},
		{"objectset.rio.cattle.io/id", "Bundle", nil},
		{"kapp.k14s.io/app", "App", nil},
	}
}

// labelScaledObject is what KEDA puts on the HPA it makes (https://keda.sh/docs/latest/concepts/scaling-deployments/):
// the ScaledObject is the owner then, for KEDA makes a paused HPA anew.
const labelScaledObject = "scaledobject.keda.sh/name"

// Of lists the owners of a StatefulSet as "Kind/name", sorted: autoscalers that target it, its controller, and GitOps controllers
// that mark it. A StatefulSet that does not exist has none.
func Of(s *appsv1.StatefulSet, hpas []autoscalingv2.HorizontalPodAutoscaler) []string {
	if s == nil {
		return nil
	}
	var out []string
	add := func(kind, name string) {
		if o := kind + "/" + name; !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	for _, h := range hpas {
		t := h.Spec.ScaleTargetRef
		if h.Namespace != s.Namespace || t.Kind != "StatefulSet" || t.Name != s.Name {
			continue
		}
		if so := h.Labels[labelScaledObject]; so != "" {
			add("ScaledObject", so)
			continue
		}
		add("HorizontalPodAutoscaler", h.Name)
	}
	if o := metav1.GetControllerOf(s); o != nil {
		add(o.Kind, o.Name)
	}
	for _, m := range marks() {
		for _, set := range []map[string]string{s.Labels, s.Annotations} {
			v, ok := set[m.key]
			if !ok || v == "" || v == "disabled" {
				continue
			}
			if m.name != nil {
				v = m.name(v)
			}
			add(m.kind, v)
		}
	}
	slices.Sort(out)
	return out
}

// Unpaused are the owners for which the plan has no pause instruction.
func Unpaused(owners []string, pause []plan.PauseOwner) []string {
	var out []string
	for _, o := range owners {
		kind, name, _ := strings.Cut(o, "/")
		if !slices.ContainsFunc(pause, func(p plan.PauseOwner) bool { return p.Kind == kind && p.Name == name }) {
			out = append(out, o)
		}
	}
	return out
}

// Check refuses to go on when an owner cannot be paused. It is called where something is scaled down.
func Check(op string, owners []string, pause []plan.PauseOwner) error {
	un := Unpaused(owners, pause)
	if len(un) == 0 {
		return nil
	}
	return fault.New(fault.OwnerNotPaused, op, fmt.Errorf("%s would scale it back up: say in spec.pause of the plan how to pause it", strings.Join(un, ", ")))
}
