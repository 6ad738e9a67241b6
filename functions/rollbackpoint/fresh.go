package rollbackpoint

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// bound are the workload's claims that have a volume: only those hold data that can be snapshotted.
func bound(f *volume.Facts) []corev1.PersistentVolumeClaim {
	var out []corev1.PersistentVolumeClaim
	for _, c := range f.Claims {
		if c.Status.Phase == corev1.ClaimBound && c.DeletionTimestamp == nil {
			out = append(out, c)
		}
	}
	return out
}

// without are the claims that have no snapshot.
func without(claims []corev1.PersistentVolumeClaim, have map[string]run.Snapshot) []string {
	var out []string
	for _, c := range claims {
		if _, ok := have[c.Name]; !ok {
			out = append(out, c.Name)
		}
	}
	return out
}

func names(claims []corev1.PersistentVolumeClaim) string {
	var out []string
	for _, c := range claims {
		out = append(out, c.Name)
	}
	return named(out)
}

// taker takes the run's own snapshots.
type taker struct {
	session *step.Session
	facts   *volume.Facts
}

// defaultClass marks a driver's default VolumeSnapshotClass
// (https://kubernetes.io/docs/concepts/storage/volume-snapshot-classes/#volume-snapshot-class-with-default).
const defaultClass = "snapshot.storage.kubernetes.io/is-default-class"

type snapshotClass struct {
	metav1.ObjectMeta `json:"metadata"`
	Driver            string `json:"driver"`
}

// classes maps claims to the VolumeSnapshotClass of their snapshots: the plan's; else the default of the volume's driver; else the
// only one that the driver has. A claim whose driver has none cannot be snapshotted, and no waiting changes that.
func (t taker) classes(ctx context.Context, claims []corev1.PersistentVolumeClaim) (map[string]string, error) {
	out := map[string]string{}
	if name := t.session.Plan.Spec.Rollback.Snapshots.Class; name != "" {
		for _, c := range claims {
			out[c.Name] = name
		}
		return out, nil
	}
	list, err := cluster.List[snapshotClass](ctx, t.session.Cluster, cluster.VolumeSnapshotClasses, "", metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list VolumeSnapshotClasses", err)
	}
	for _, c := range claims {
		driver := ""
		if v := t.facts.Volume(c.Spec.VolumeName); v != nil && v.Spec.CSI != nil {
			driver = v.Spec.CSI.Driver
		}
		if out[c.Name] = classFor(list, driver); out[c.Name] == "" {
			return nil, fault.Newf(fault.NotQualified, "take a snapshot of claim "+c.Name,
				"driver %q has neither a default VolumeSnapshotClass nor exactly one: name one in spec.rollback.snapshots.class", driver)
		}
	}
	return out, nil
}

func classFor(list []snapshotClass, driver string) string {
	var all, defaults []string
	for _, c := range list {
		if driver == "" || c.Driver != driver {
			continue
		}
		all = append(all, c.Name)
		if c.Annotations[defaultClass] == "true" {
			defaults = append(defaults, c.Name)
		}
	}
	switch {
	case len(defaults) == 1:
		return defaults[0]
	case len(defaults) == 0 && len(all) == 1:
		return all[0]
	default:
		return ""
	}
}

// name of the run's snapshot of a claim: the same in every call.
func (t taker) name(claim string) string { return t.session.Run.ID + "-" + claim }

func (t taker) take(ctx context.Context, claims []corev1.PersistentVolumeClaim) error {
	classes, err := t.classes(ctx, claims)
	if err != nil {
		return err
	}
	ch := t.session.Changer()
	for _, c := range claims {
		spec := map[string]any{"source": map[string]any{"persistentVolumeClaimName": c.Name}, "volumeSnapshotClassName": classes[c.Name]}
		vs := &unstructured.Unstructured{Object: map[string]any{"apiVersion": snapshots.APIVersion, "kind": snapshots.Kind,
			"metadata": map[string]any{"name": t.name(c.Name), "namespace": c.Namespace}, "spec": spec}}
		if _, err := ch.CreateKept(ctx, vs, "snapshot of claim "+c.Name+" before the first change"); err != nil {
			return err
		}
	}
	return nil
}

// await puts every snapshot that became ready into have, and returns the claims whose snapshot did not before slice ended.
// It looks once even when slice is over already.
func (t taker) await(ctx, slice context.Context, claims []corev1.PersistentVolumeClaim, have map[string]run.Snapshot) ([]corev1.PersistentVolumeClaim, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	pending := claims
	own := cluster.Source{GVR: cluster.VolumeSnapshots, Namespace: claims[0].Namespace,
		Options: metav1.ListOptions{LabelSelector: change.LabelRun + "=" + t.session.Run.ID}}
	look := func(ctx context.Context) (bool, error) {
		// One list, not a request for each of what may be hundreds of claims.
		list, err := cluster.List[snapshots.VolumeSnapshot](ctx, t.session.Cluster, own.GVR, own.Namespace, own.Options)
		if err != nil {
			return false, err
		}
		made := map[string]*snapshots.VolumeSnapshot{}
		for i := range list {
			made[list[i].Name] = &list[i]
		}
		var next []corev1.PersistentVolumeClaim
		for _, c := range pending {
			vs := made[t.name(c.Name)]
			if vs == nil || !snapshots.Usable(vs) {
				next = append(next, c)
				continue
			}
			s, ok, err := snapshots.Describe(ctx, t.session.Cluster, vs)
			if err != nil {
				return false, err
			}
			if !ok {
				next = append(next, c)
				continue
			}
			s.Claim, s.Fresh = c.Name, true
			have[c.Name] = s
		}
		pending = next
		return len(pending) == 0, nil
	}
	if ok, err := look(ctx); ok || err != nil {
		return pending, cluster.Fault("read the snapshots of "+names(claims), err)
	}
	_, err := t.session.Cluster.WaitFor(slice, 0, []cluster.Source{own}, look)
	return pending, cluster.Fault("wait for the snapshots of "+names(claims), err)
}

// drop deletes the run's snapshots that did not become ready.
func (t taker) drop(ctx context.Context, claims []corev1.PersistentVolumeClaim) error {
	ch := t.session.Changer()
	for _, c := range claims {
		vs, err := cluster.Get[snapshots.VolumeSnapshot](ctx, t.session.Cluster, cluster.VolumeSnapshots, c.Namespace, t.name(c.Name))
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return cluster.Fault("read VolumeSnapshot "+c.Namespace+"/"+t.name(c.Name), err)
		}
		ref := change.Ref{GVR: cluster.VolumeSnapshots, Kind: snapshots.Kind, Namespace: c.Namespace, Name: vs.Name, UID: vs.UID}
		if err := ch.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing}, "the snapshot did not become ready; an older one stands in"); err != nil {
			return err
		}
	}
	return nil
}
