package backup

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/run"
)

// restoreHooks are the annotations by which Velero runs commands in Pods that it restores, and adds init containers to them
// (https://velero.io/docs/main/restore-hooks/).
var restoreHooks = []string{"post.hook.restore.velero.io/", "init.hook.restore.velero.io/"}

// hooks warns of restore hooks: no run has Velero restore Pods, for they come from their controllers, so none of the hooks runs.
func hooks(objects []*unstructured.Unstructured, namespace string) []run.Finding {
	var carriers []string
	for _, o := range objects {
		if o.GetNamespace() != namespace {
			continue
		}
		found := hooked(o.GetAnnotations())
		for _, path := range [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}} {
			notes, _, _ := unstructured.NestedStringMap(o.Object, append(slices.Clone(path), "metadata", "annotations")...)
			found = found || hooked(notes)
		}
		if found {
			carriers = append(carriers, o.GetKind()+" "+o.GetName())
		}
	}
	if len(carriers) == 0 {
		return nil
	}
	slices.SortFunc(carriers, func(a, b string) int { return strings.Compare(b, a) }) // StatefulSets before Pods
	return []run.Finding{{Severity: run.Warning, Subject: "restore hooks",
		Problem: "carried by " + strings.Join(run.Few(carriers, 3, 80), ", ") + ": annotations " + strings.Join(restoreHooks, "… or ") + "…",
		Means:   "none of them runs: Velero runs them in Pods that it restores, and here Pods come from their controllers; what they do to the data is not done"}}
}

func hooked(annotations map[string]string) bool {
	for k := range annotations {
		for _, prefix := range restoreHooks {
			if strings.HasPrefix(k, prefix) {
				return true
			}
		}
	}
	return false
}
