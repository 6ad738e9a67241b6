package undo

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
)

// settle waits until everything that is being deleted was read back as gone, and writes each down.
func (u *undoer) settle(ctx context.Context) error {
	var waiting error
	for len(u.deleting) > 0 {
		d := u.deleting[0]
		switch err := u.gone(ctx, d.ref); {
		case errors.Is(err, errWaiting):
			// The others may be gone already: they are still asked, once.
			waiting = err
		case err != nil:
			return err
		default:
			if err := u.undone(ctx, d.entry, d.note); err != nil {
				return err
			}
		}
		u.deleting = u.deleting[1:]
	}
	return waiting
}

// gone waits until there is no object of this name and UID.
func (u *undoer) gone(ctx context.Context, r change.Ref) error {
	if u.Changer.DryRun {
		return nil
	}
	isGone := func(ctx context.Context) (bool, error) {
		have, err := u.resource(r).Get(ctx, r.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && have.GetUID() != r.UID, err
	}
	if ok, err := isGone(ctx); ok || (err != nil && ctx.Err() == nil) {
		return cluster.Fault("read "+r.String(), err)
	}
	if u.NoWait || ctx.Err() != nil {
		return errWaiting
	}
	wait := func(ctx context.Context) error {
		source := cluster.Source{GVR: r.GVR, Namespace: r.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + r.Name}}
		return u.wait(ctx, "wait for the end of "+r.String(), source, isGone)
	}
	if isSnapshot(r.GVR) {
		if err := u.nudging(ctx, r, wait); !errors.Is(err, errWaiting) || ctx.Err() != nil {
			return err
		}
	}
	return wait(ctx)
}

// use is what may still need an object.
type use struct {
	gvr       schema.GroupVersionResource
	namespace string
	what      string
	// is chooses among the objects of the resource; nil: any.
	is func(*unstructured.Unstructured) bool
}

// uses tells what needs an object that is about to be deleted, nil when nothing does: the pods of a namespace; in a drill the pods behind
// a policy, for the last ones must not run without it; the volumes of a storage class, which the driver deletes by it; the claims
// that are still being made from a snapshot, for whose end the snapshot controller waits with growing pauses, and those that are being
// deleted, which it may still know as being made; the snapshot of a
// content, for a content that goes first can leave its snapshot's finalizer in place for good (the controller goes on patching
// a content that is not there any more: snapshot_controller.go of
// https://github.com/kubernetes-csi/external-snapshotter/blob/v8.6.0/pkg/common-controller, checkandRemoveSnapshotFinalizersAndCheckandDeleteContent).
func (u *undoer) uses(o journal.Object) *use {
	switch {
	case isNamespace(o):
		return &use{cluster.Pods, o.Name, "pods of namespace " + o.Name, nil}
	case u.Changer.Scope.Drill && o.Resource == cluster.NetworkPolicies.Resource:
		return &use{cluster.Pods, o.Namespace, "pods of namespace " + o.Namespace, nil}
	case o.Resource == cluster.VolumeSnapshots.Resource:
		return &use{cluster.PersistentVolumeClaims, o.Namespace, "claims that are made from snapshot " + o.Name, func(x *unstructured.Unstructured) bool {
			return field(x, "spec", "dataSource", "name") == o.Name && field(x, "spec", "dataSource", "kind") == o.Kind &&
				(field(x, "status", "phase") != string(corev1.ClaimBound) || x.GetDeletionTimestamp() != nil)
		}}
	case o.Resource == cluster.VolumeSnapshotContents.Resource:
		return &use{cluster.VolumeSnapshots, u.Changer.Scope.Namespace, "snapshot of content " + o.Name, func(x *unstructured.Unstructured) bool {
			return field(x, "spec", "source", "volumeSnapshotContentName") == o.Name
		}}
	case isClass(o):
		return &use{cluster.PersistentVolumes, "", "volumes of storage class " + o.Name, func(x *unstructured.Unstructured) bool {
			return field(x, "spec", "storageClassName") == o.Name
		}}
	}
	return nil
}

// users waits until nothing needs an object any more. The snapshots that this run is deleting are waited for one by one: one that
// stays may need a nudge.
func (u *undoer) users(ctx context.Context, o journal.Object) error {
	if o.Resource == cluster.VolumeSnapshotContents.Resource {
		for _, d := range u.deleting {
			if d.ref.GVR != cluster.VolumeSnapshots {
				continue
			}
			if err := u.gone(ctx, d.ref); err != nil {
				return err
			}
		}
	}
	if w := u.uses(o); w != nil {
		return u.none(ctx, *w)
	}
	return nil
}

func field(x *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(x.Object, path...)
	return s
}

// unused tells whether nothing needs the object.
func (u *undoer) unused(ctx context.Context, w use) (bool, error) {
	l, err := u.Cluster.Dynamic.Resource(w.gvr).Namespace(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(l.Items, func(x unstructured.Unstructured) bool { return w.is == nil || w.is(&x) }), nil
}

// none waits until nothing needs the object any more.
func (u *undoer) none(ctx context.Context, w use) error {
	if u.Changer.DryRun {
		return nil
	}
	gone := func(ctx context.Context) (bool, error) { return u.unused(ctx, w) }
	if ok, err := gone(ctx); ok || (err != nil && ctx.Err() == nil) {
		return cluster.Fault("list the "+w.what, err)
	}
	if u.NoWait || ctx.Err() != nil {
		return errWaiting
	}
	return u.wait(ctx, "wait for the end of the "+w.what, cluster.Source{GVR: w.gvr, Namespace: w.namespace}, gone)
}

func (u *undoer) wait(ctx context.Context, op string, s cluster.Source, done func(context.Context) (bool, error)) error {
	ok, err := u.Cluster.WaitFor(ctx, 0, []cluster.Source{s}, done)
	switch {
	case err != nil:
		return cluster.Fault(op, err)
	case !ok:
		return errWaiting
	default:
		return nil
	}
}
