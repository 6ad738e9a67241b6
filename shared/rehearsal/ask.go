package rehearsal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// AskLimit is how many objects the API server is asked about at most: with the client's rate limit they take a few seconds.
const AskLimit = 200

// ask lets the API server create the objects in a dry run: admission, quota and validation answer as they would to the restore.
func (w *work) ask(ctx context.Context) error {
	ns, err := w.place(ctx)
	if err != nil {
		return err
	}
	if ns == "" {
		w.found(run.Warning, "dry run", "what admission, quota and validation would say is not known", "there is no namespace to ask the API server in")
		return nil
	}
	w.AskedIn = ns
	// Other namespaces than the workload's (the CSI controller's) are left out: what is restored there is small and known.
	mine := slices.DeleteFunc(slices.Clone(w.items), func(it item) bool { return it.object.GetNamespace() != "" && it.object.GetNamespace() != w.Target })
	ordered, all := byKind(mine), len(mine)
	var no answers
	cut := false
	for _, it := range ordered[:min(len(ordered), AskLimit)] {
		if err := w.one(ctx, ns, it, &no); err != nil {
			if ctx.Err() == nil {
				return err
			}
			cut = true
			break
		}
	}
	w.Findings = append(w.Findings, no.list...)
	w.notAsked(ns)
	if ns != w.Target {
		w.found(run.Note, "dry run", "what depends on the namespace itself may be answered otherwise there",
			"namespace %s does not exist yet; the API server was asked in namespace %s, under names with the run's suffix", w.Target, ns)
	}
	switch {
	case cut:
		w.found(run.Warning, "dry run", "the rest may be refused", "the time was over: the API server was asked about %d of %d objects", w.Asked, all)
	case all > AskLimit:
		w.found(run.Note, "dry run", "others of the same kinds may be refused all the same", "the API server was asked about %d of %d objects, every kind first", w.Asked, all)
	}
	return nil
}

// place is where the API server can be asked: in the target; where that does not exist, beside the workload; else in the spare.
func (w *work) place(ctx context.Context) (string, error) {
	if w.targetExists {
		return w.Target, nil
	}
	for _, name := range []string{w.Namespace, w.Spare} {
		if name == "" || name == w.Target {
			continue
		}
		ns, err := cluster.Get[corev1.Namespace](ctx, w.Cluster, cluster.Namespaces, "", name)
		switch {
		case err == nil && ns.DeletionTimestamp == nil:
			return name, nil
		case err == nil, apierrors.IsNotFound(err):
		default:
			if err := w.unread("Namespace "+name, "the API server was not asked there", err); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

// byKind orders the items so that the first of every kind come first, then the second, and so on.
func byKind(items []item) []item {
	nth := map[schema.GroupVersionResource]int{}
	type place struct {
		item
		round int
	}
	var out []place
	for _, it := range items {
		out = append(out, place{it, nth[it.gvr]})
		nth[it.gvr]++
	}
	slices.SortStableFunc(out, func(a, b place) int { return a.round - b.round })
	flat := make([]item, len(out))
	for i, p := range out {
		flat[i] = p.item
	}
	return flat
}

// notAsked names the kinds that this user may not create where the API server was asked. A drill's restore is Velero's: that the run's
// own user may create nothing beside the living workload is as it should be.
func (w *work) notAsked(ns string) {
	if len(w.forbidden) == 0 {
		return
	}
	var kinds []string
	for gvr := range w.forbidden {
		kinds = append(kinds, gvr.GroupResource().String())
	}
	slices.Sort(kinds)
	w.found(run.Warning, "dry run", "whether they would be admitted is not known", "this user may not create %s in namespace %s, so the API server was not asked about them",
		strings.Join(run.Few(kinds, 12, 63), ", "), ns)
}

func (w *work) one(ctx context.Context, ns string, it item, no *answers) error {
	if w.forbidden[it.gvr] {
		return nil
	}
	o := it.object.DeepCopy()
	beside := ns != w.Target || w.have[identity(o)]
	if o.GetNamespace() == "" {
		beside = false
	} else {
		o.SetNamespace(ns)
	}
	if beside {
		other(o, w.Run)
	}
	_, err := w.Cluster.Dynamic.Resource(it.gvr).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{FieldManager: change.FieldManager, DryRun: []string{metav1.DryRunAll}})
	if err == nil || apierrors.IsAlreadyExists(err) {
		w.Asked++
		return nil
	}
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource") {
		w.forbidden[it.gvr] = true
		return nil
	}
	w.Asked++
	severity, means, ok := judge(err, beside)
	if !ok {
		return cluster.Fault("ask about "+title(o), err)
	}
	no.add(severity, it.object, o.GetName(), means, err)
	return nil
}

// nameLimit is the shortest limit of a name among the kinds that are restored (that of a Service).
const nameLimit = 63

// other gives an object a name that is surely free, and takes from it what only one object can have.
func other(o *unstructured.Unstructured, runID string) {
	suffix := "-" + runID[max(0, len(runID)-19):] // time and random part
	name := o.GetName()
	o.SetName(strings.TrimRight(name[:min(len(name), nameLimit-len(suffix))], "-.") + suffix)
	if o.GetKind() != "Service" {
		return
	}
	if ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP"); ip != "None" {
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIPs")
	}
	unstructured.RemoveNestedField(o.Object, "spec", "healthCheckNodePort")
	ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok {
			delete(m, "nodePort")
		}
	}
	if len(ports) > 0 {
		_ = unstructured.SetNestedSlice(o.Object, ports, "spec", "ports") // spec is a map: its ports were read from it
	}
}

// judge says what a refusal means for the restore; ok is false when the server gave no answer. A quota that was asked elsewhere than
// in the target, or for a second object beside the one that exists, is not the restore's.
func judge(err error, beside bool) (severity, means string, ok bool) {
	text := err.Error()
	switch {
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "failed quota"):
		if beside {
			return run.Note, "this quota counts what is there already; the target's own decides", true
		}
		return run.Stop, "it would not be created", true
	case strings.Contains(text, "does not support dry run"):
		return run.Warning, "whether it would be admitted is not known: a webhook takes no dry runs", true
	case strings.Contains(text, "failed calling webhook"):
		return run.Stop, "it would not be created while the webhook is away", true
	case apierrors.IsNotFound(err):
		return run.Stop, "it would not be created", true
	}
	f := fault.From(cluster.Fault("ask", err))
	if f.Class() == fault.Retry || f.Code == fault.Unauthorized {
		return "", "", false
	}
	return run.Stop, "it would not be created", true
}

// answers are refusals, those that say the same of several objects of a kind as one.
type answers struct {
	list  []run.Finding
	index map[string]int
	count map[string]int
}

func (a *answers) add(severity string, o *unstructured.Unstructured, asked, means string, err error) {
	if a.index == nil {
		a.index, a.count = map[string]int{}, map[string]int{}
	}
	text := strings.ReplaceAll(err.Error(), asked, o.GetName())
	key := strings.Join([]string{severity, o.GroupVersionKind().GroupKind().String(), strings.ReplaceAll(text, o.GetName(), "*")}, "\x00")
	a.count[key]++
	if i, known := a.index[key]; known {
		a.list[i].Subject = fmt.Sprintf("%s, and %d more", strings.Split(a.list[i].Subject, ", and ")[0], a.count[key]-1)
		return
	}
	a.index[key] = len(a.list)
	a.list = append(a.list, run.Finding{Severity: severity, Subject: title(o), Problem: "the API server refuses it: " + run.Short(text, 300), Means: means})
}
