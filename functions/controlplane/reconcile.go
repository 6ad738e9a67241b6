package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// work is one start.
type work struct {
	s      *step.Session
	ch     *change.Changer
	bundle *inventory.Bundle
	// slice bounds the changes of this call; left are those that it did not come to. again: another call came before it.
	slice context.Context
	left  int
	again bool
	// live are the objects of the namespace that were listed, by resource and name.
	live map[schema.GroupVersionResource]map[string]*unstructured.Unstructured

	found, done              []string
	missing, changed, extras int
}

func (w *work) foundf(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf(format, args...))
}
func (w *work) didf(format string, args ...any) {
	w.done = append(w.done, fmt.Sprintf(format, args...))
}

func (w *work) counts() string {
	return fmt.Sprintf("%d missing, %d changed, %d extra; %d changes made", w.missing, w.changed, w.extras, len(w.done))
}

// state is how an object of the inventory stands in the cluster.
type state struct {
	object *unstructured.Unstructured
	ref    change.Ref
	exists bool
	// fields differ, when it exists; patch would make it what the inventory holds.
	fields []string
	patch  []byte
}

func (w *work) reconcile(ctx context.Context, objects []*unstructured.Unstructured) error {
	kept, left := scoped(w.s, objects)
	namespaces, err := w.namespaces(ctx, kept)
	if err != nil {
		return err
	}
	var states []state
	for _, o := range kept {
		if isClaim(o) || o.GetKind() == "Namespace" {
			continue
		}
		st, why, err := w.compare(ctx, o)
		if err != nil {
			return err
		}
		if why != "" {
			left = append(left, why)
			continue
		}
		states = append(states, st)
	}
	claims, err := w.missingClaims(ctx, kept)
	if err != nil {
		return err
	}
	if err := w.report(ctx, states, len(namespaces)+len(claims)); err != nil {
		return err
	}
	if err := w.bring(ctx, namespaces, states, claims); err != nil || w.left > 0 {
		return err
	}
	if err := w.extra(ctx, kept); err != nil {
		return err
	}
	for _, l := range left {
		w.foundf("left out: %s", l)
	}
	return nil
}

// bring makes the changes, in order, until the slice is over.
func (w *work) bring(ctx context.Context, namespaces []*unstructured.Unstructured, states []state, claims []missingClaim) error {
	var changes []func() error
	for _, n := range namespaces {
		changes = append(changes, func() error {
			if _, err := w.ch.Apply(ctx, n, false, "the inventory holds it and the cluster does not"); err != nil {
				return err
			}
			w.didf("created Namespace %s", n.GetName())
			return nil
		})
	}
	of := func(after bool) {
		for _, st := range states {
			if afterClaims(st.object) == after && (!st.exists || len(st.fields) > 0) {
				changes = append(changes, func() error { return w.apply(ctx, st) })
			}
		}
	}
	of(false)
	for _, c := range claims {
		changes = append(changes, func() error { return w.claim(ctx, c) })
	}
	of(true)
	for i, change := range changes {
		if w.over() {
			w.left = len(changes) - i
			break
		}
		if err := change(); err != nil {
			return err
		}
	}
	return nil
}

// over tells whether this call's time for changes is.
func (w *work) over() bool { return w.slice.Err() != nil }

// namespaces are those that must be created first: the run's own, and those of Extra in its scope.
func (w *work) namespaces(ctx context.Context, kept []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	wanted := append([]string{w.s.Target()}, w.ch.Scope.Extra...)
	var out []*unstructured.Unstructured
	for i, name := range wanted {
		ns, err := cluster.Get[corev1.Namespace](ctx, w.s.Cluster, cluster.Namespaces, "", name)
		switch {
		case err == nil && ns.DeletionTimestamp != nil && i == 0:
			return nil, fault.Newf(fault.NotQualified, "controlplane start", "namespace %s is being deleted; nothing can be created in it", name)
		case err == nil:
			continue
		case !apierrors.IsNotFound(err):
			return nil, cluster.Fault("read namespace "+name, err)
		}
		if w.s.Run.Mode == run.Drill {
			return nil, fault.Newf(fault.ObjectsMissing, "controlplane start", "the drill's namespace %s does not exist, and only the quarantine creates it", name)
		}
		w.missing++
		w.foundf("missing: Namespace %s", name)
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
		for _, o := range kept {
			if o.GetKind() == "Namespace" && o.GetName() == name {
				u = o
			}
		}
		out = append(out, u)
	}
	return out, nil
}

// compare reads one object and finds how it differs; why says what keeps it out of this run's hands.
func (w *work) compare(ctx context.Context, o *unstructured.Unstructured) (st state, why string, err error) {
	gvk := o.GroupVersionKind()
	name := fmt.Sprintf("%s %s", gvk.Kind, strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	m, err := w.s.Cluster.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		return st, name + ": the cluster does not serve " + gvk.GroupVersion().String(), nil
	}
	if err != nil {
		return st, "", cluster.Fault("map "+name+" to a resource", err)
	}
	st = state{object: o, ref: change.Ref{GVR: m.Resource, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}}
	if err := w.ch.Scope.Allows(st.ref, nil, w.ch.Labels()); err != nil {
		return st, fault.From(err).Err.Error() + " (" + name + ")", nil
	}
	ri := w.s.Cluster.Dynamic.Resource(m.Resource).Namespace(o.GetNamespace())
	have, err := w.get(ctx, st.ref)
	if err != nil {
		return st, "", cluster.Fault("read "+name, err)
	}
	if have == nil {
		return st, "", nil
	}
	st.exists, st.ref.UID = true, have.GetUID()
	if w.again && have.GetLabels()[change.LabelRun] == w.ch.Run {
		return st, "", nil // an earlier call made it a moment ago
	}
	patch := Patch(have, o)
	if len(patch) == 0 {
		return st, "", nil
	}
	if st.patch, err = json.Marshal(patch); err != nil {
		return st, "", fault.New(fault.Internal, "compare "+name, err)
	}
	// What the patch would really change: the server fills in defaults that a bundle may lack.
	would, err := ri.Patch(ctx, o.GetName(), types.MergePatchType, st.patch, metav1.PatchOptions{FieldManager: change.FieldManager, DryRun: []string{metav1.DryRunAll}})
	switch {
	case apierrors.IsInvalid(err):
		st.fields = []string{immutable + " (" + run.Short(err.Error(), 120) + ")"}
	case err != nil:
		return st, "", cluster.Fault("compare "+name, err)
	default:
		st.fields = Changed(have, would)
	}
	return st, "", nil
}

// report writes down what is missing and changed, and refuses when only differences are left that keep the workload from
// running and that the plan does not allow to change. A difference of a workload that runs is only noted.
func (w *work) report(ctx context.Context, states []state, others int) error {
	var stop []string
	missing := 0
	for _, st := range states {
		switch {
		case !st.exists:
			missing++
			w.foundf("missing: %s", st.ref)
		case len(st.fields) > 0:
			w.changed++
			w.foundf("changed: %s (%s)", st.ref, strings.Join(run.Few(st.fields, 5, 80), ", "))
			if bad := stops(st.object, st.fields, w.s.Plan.Spec.Workload, w.s.Plan.Spec.Volumes.Controller); len(bad) > 0 {
				stop = append(stop, fmt.Sprintf("%s (%s)", st.ref, strings.Join(run.Few(bad, 5, 80), ", ")))
			}
		}
	}
	w.missing += missing
	if w.again || missing+others > 0 || len(stop) == 0 || w.s.Plan.Spec.Tiers.ControlPlaneReconcile.Overwrite {
		return nil
	}
	f, err := volume.ReadWorkload(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return err
	}
	if len(f.Waiting()) == 0 {
		return nil
	}
	return fault.Newf(fault.OverwriteRefused, "controlplane start",
		"nothing is missing, and the plan does not allow (tiers.controlPlaneReconcile.overwrite) to change what differs from the inventory: %s",
		strings.Join(run.Few(stop, 6, width), "; "))
}

// apply brings back a missing object, or changes one that the plan allows to change.
func (w *work) apply(ctx context.Context, st state) error {
	overwrite := w.s.Plan.Spec.Tiers.ControlPlaneReconcile.Overwrite
	switch {
	case !st.exists:
		if _, err := w.ch.Apply(ctx, st.object, overwrite, "the inventory holds it and the cluster does not"); err != nil {
			return err
		}
		w.didf("created %s", st.ref)
	case len(st.fields) > 0 && overwrite:
		if err := w.change(ctx, st); err != nil {
			return err
		}
		w.didf("changed %s (%s)", st.ref, strings.Join(run.Few(st.fields, 5, 80), ", "))
		if afterClaims(st.object) {
			return w.replaceStale(ctx)
		}
	}
	return nil
}

// change makes an existing object what the inventory holds. A Secret is applied instead of patched: a patch would stand in the
// journal with its values.
func (w *work) change(ctx context.Context, st state) error {
	why := "it differs from the inventory in " + strings.Join(run.Few(st.fields, 8, 80), ", ")
	if st.ref.Kind == "Secret" {
		_, err := w.ch.Apply(ctx, st.object, true, why)
		return err
	}
	_, err := w.ch.Patch(ctx, st.ref, types.MergePatchType, st.patch, "", why, journal.UndoRestore)
	return err
}
