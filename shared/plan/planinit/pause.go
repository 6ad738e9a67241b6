package planinit

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/plan"
)

// hpaPatch stops an autoscaler: no policy scales in either direction, and one replica is enough for it
// (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#scaling-policies, "selectPolicy: Disabled";
// below minReplicas it would scale up regardless of policies).
const hpaPatch = `{"spec":{"minReplicas":1,"behavior":{"scaleUp":{"selectPolicy":"Disabled"},"scaleDown":{"selectPolicy":"Disabled"}}}}`

// Labels and annotations that GitOps tools leave on what they own.
const (
	fluxKustomization = "kustomize.toolkit.fluxcd.io/"
	fluxHelmRelease   = "helm.toolkit.fluxcd.io/"
	argoInstance      = "argocd.argoproj.io/instance"
)

// owners lists who would undo a scale-down, with how each is paused.
func owners(live Live) []plan.PauseOwner {
	sts := live.StatefulSet
	var out []plan.PauseOwner
	for _, h := range live.HPAs {
		if t := h.Spec.ScaleTargetRef; t.Kind != "StatefulSet" || t.Name != sts.Name || h.Namespace != sts.Namespace {
			continue
		}
		i := slices.IndexFunc(h.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "ScaledObject" })
		if i >= 0 {
			// https://keda.sh/docs/latest/concepts/scaling-deployments/#pausing-autoscaling
			out = append(out, plan.PauseOwner{APIVersion: h.OwnerReferences[i].APIVersion, Kind: "ScaledObject", Namespace: h.Namespace,
				Name: h.OwnerReferences[i].Name, Patch: `{"metadata":{"annotations":{"autoscaling.keda.sh/paused":"true"}}}`})
			continue
		}
		out = append(out, plan.PauseOwner{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Namespace: h.Namespace, Name: h.Name, Patch: hpaPatch})
	}
	// https://fluxcd.io/flux/components/kustomize/kustomizations/#suspend
	if name := sts.Labels[fluxKustomization+"name"]; name != "" {
		out = append(out, plan.PauseOwner{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization",
			Namespace: sts.Labels[fluxKustomization+"namespace"], Name: name, Patch: `{"spec":{"suspend":true}}`})
	}
	if name := sts.Labels[fluxHelmRelease+"name"]; name != "" {
		out = append(out, plan.PauseOwner{APIVersion: "helm.toolkit.fluxcd.io/v2", Kind: "HelmRelease",
			Namespace: sts.Labels[fluxHelmRelease+"namespace"], Name: name, Patch: `{"spec":{"suspend":true}}`})
	}
	// https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
	if name := sts.Labels[argoInstance]; name != "" {
		out = append(out, plan.PauseOwner{APIVersion: "argoproj.io/v1alpha1", Kind: "Application", Namespace: "argocd", Name: name,
			Patch: `{"spec":{"syncPolicy":{"automated":null}}}`})
	}
	return out
}

func (w *writer) pause(live Live) {
	found := owners(live)
	if ref := metav1.GetControllerOf(live.StatefulSet); ref != nil {
		w.note(1, "%s: %s %s owns the StatefulSet and may undo a scale-down; say here how it is paused, e.g.", Check, ref.Kind, ref.Name)
		w.note(1, "- {apiVersion: %s, kind: %s, namespace: %s, name: %s, patch: '{\"spec\":{\"paused\":true}}'}",
			ref.APIVersion, ref.Kind, live.StatefulSet.Namespace, ref.Name)
	}
	if len(found) == 0 {
		w.note(1, "Nothing was found that scales the StatefulSet by itself (HPA, KEDA, Flux, Argo CD); if something does, say here")
		w.note(1, "how it is paused: pause: [{apiVersion: V, kind: K, namespace: NS, name: N, patch: '{\"spec\":{\"suspend\":true}}'}]")
		return
	}
	w.note(1, "Paused before a scale-down, and put back after it.")
	w.line(1, "pause:")
	for _, o := range found {
		w.value(2, "- apiVersion", o.APIVersion)
		w.value(3, "kind", o.Kind)
		if o.Namespace != "" {
			w.value(3, "namespace", o.Namespace)
		}
		w.value(3, "name", o.Name)
		w.value(3, "patch", o.Patch)
	}
}
