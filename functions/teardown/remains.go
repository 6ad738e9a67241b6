package teardown

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	prod "fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/velero"
)

// remnant is something of the drill that is still there.
type remnant struct {
	ref change.Ref
	// own tells that it may be deleted: it carries the run's label and the run ID in its name. A volume is never the run's own:
	// its claim's reclaim policy removes it.
	own  bool
	note string
}

func (r remnant) String() string {
	if r.note != "" {
		return r.ref.String() + " (" + r.note + ")"
	}
	return r.ref.String()
}

// remains looks for what is left of the drill, whatever the journal says: its namespace, the volumes of claims in it, and the
// snapshot contents with its label.
func remains(ctx context.Context, s *step.Session, ch *change.Changer) ([]remnant, error) {
	var out []remnant
	target := s.Target()
	ns, err := cluster.Get[corev1.Namespace](ctx, s.Cluster, cluster.Namespaces, "", target)
	switch {
	case err == nil:
		r := remnant{ref: change.Ref{GVR: cluster.Namespaces, Kind: "Namespace", Name: ns.Name, UID: ns.UID}, own: ns.Labels[change.LabelRun] == s.Run.ID}
		if ch.Scope.Remade && ns.Labels[change.LabelRun] == "" {
			r.own, r.note = true, "made again by Velero"
		}
		if !r.own {
			r.note = "without this run's label"
		}
		out = append(out, r)
	case !apierrors.IsNotFound(err):
		return nil, cluster.Fault("read namespace "+target, err)
	}
	pvs, err := cluster.List[corev1.PersistentVolume](ctx, s.Cluster, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list PersistentVolumes", err)
	}
	for _, pv := range pvs {
		if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == target {
			out = append(out, remnant{ref: change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: pv.Name, UID: pv.UID},
				note: fmt.Sprintf("reclaim policy %s, %s", pv.Spec.PersistentVolumeReclaimPolicy, pv.Status.Phase)})
		}
	}
	sel := metav1.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{change.LabelRun: s.Run.ID}).String()}
	contents, err := cluster.List[snapshots.VolumeSnapshotContent](ctx, s.Cluster, cluster.VolumeSnapshotContents, "", sel)
	if err != nil && !apierrors.IsNotFound(err) { // no snapshot API: no contents
		return nil, cluster.Fault("list VolumeSnapshotContents", err)
	}
	for _, c := range contents {
		out = append(out, remnant{ref: change.Ref{GVR: cluster.VolumeSnapshotContents, Kind: "VolumeSnapshotContent", Name: c.Name, UID: c.UID},
			own: strings.Contains(c.Name, s.Run.ID)})
	}
	classes, err := cluster.List[storagev1.StorageClass](ctx, s.Cluster, cluster.StorageClasses, "", sel)
	if err != nil {
		return nil, cluster.Fault("list StorageClasses", err)
	}
	for _, c := range classes {
		out = append(out, remnant{ref: change.Ref{GVR: cluster.StorageClasses, Kind: "StorageClass", Name: c.Name, UID: c.UID}, own: strings.Contains(c.Name, s.Run.ID)})
	}
	if !s.RestoredByVelero() {
		return out, nil
	}
	return remainsOfVelero(ctx, s, ch, out)
}

// remainsOfVelero adds what is left in Velero's namespace, and the contents that Velero made.
func remainsOfVelero(ctx context.Context, s *step.Session, ch *change.Changer, out []remnant) ([]remnant, error) {
	now := s.Now()
	r := restoredOf(s, ch, &now)
	add := func(gvr schema.GroupVersionResource, o *unstructured.Unstructured, own bool, note string) {
		for i := range out {
			if out[i].ref.UID == o.GetUID() { // found by another label already
				out[i].own, out[i].note = own, note
				return
			}
		}
		out = append(out, remnant{ref: refOf(gvr, o), own: own, note: note})
	}
	contents, err := r.all(ctx, cluster.VolumeSnapshotContents, "", r.ofRestore())
	if err != nil {
		return nil, err
	}
	for i := range contents {
		own := ch.Scope.RestoredContent(&contents[i]) && policyOf(&contents[i]) == "Retain"
		add(cluster.VolumeSnapshotContents, &contents[i], own, "deletionPolicy "+policyOf(&contents[i]))
	}
	for _, gvr := range []schema.GroupVersionResource{velero.Restores, cluster.ConfigMaps} {
		have, err := s.Cluster.Dynamic.Resource(gvr).Namespace(r.namespace).Get(ctx, r.name, metav1.GetOptions{})
		switch {
		case err == nil:
			add(gvr, have, have.GetLabels()[change.LabelRun] == s.Run.ID, "")
		case !apierrors.IsNotFound(err):
			return nil, cluster.Fault("read "+gvr.Resource+" "+r.namespace+"/"+r.name, err)
		}
	}
	records, err := r.records(ctx)
	if err != nil {
		return nil, err
	}
	for i := range records {
		add(cluster.ConfigMaps, &records[i], true, "Velero's note of the Restore")
	}
	for _, gvr := range []schema.GroupVersionResource{velero.DataDownloads, velero.PodVolumeRestores} {
		moves, err := r.all(ctx, gvr, r.namespace, r.ofRestore())
		if err != nil {
			return nil, err
		}
		for i := range moves {
			phase, _, _ := unstructured.NestedString(moves[i].Object, "status", "phase")
			add(gvr, &moves[i], false, "Velero's, "+phase)
		}
	}
	return out, nil
}

// sweep deletes what carries the run's label and name and is not in the journal any more, as when the journal was lost.
func sweep(ctx context.Context, s *step.Session, ch *change.Changer) error {
	left, err := remains(ctx, s, ch)
	if err != nil {
		return err
	}
	for _, r := range left {
		if !r.own {
			continue
		}
		if err := ch.Delete(ctx, r.ref, change.DeleteOptions{Undo: journal.UndoNothing}, "it carries the label and the name of this drill"); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until nothing is left of the drill, or ctx ends, and lists what is.
func settled(ctx context.Context, s *step.Session, ch *change.Changer) ([]string, error) {
	var left []remnant
	look := func(ctx context.Context) (bool, error) {
		var err error
		left, err = remains(ctx, s, ch)
		return err == nil && len(left) == 0, err
	}
	sources := []cluster.Source{{GVR: cluster.Namespaces, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + s.Target()}}, {GVR: cluster.PersistentVolumes}}
	if ok, err := look(context.WithoutCancel(ctx)); ok || err != nil {
		return nil, err
	}
	// Contents are not watched (the snapshot API may not be there): they are looked at again.
	if _, err := s.Cluster.WaitFor(ctx, 5*time.Second, sources, look); err != nil {
		return nil, cluster.Fault("wait for the end of "+s.Target(), err)
	}
	var out []string
	for _, r := range left {
		out = append(out, r.String())
	}
	return out, nil
}

// production says whether production is as the rollback point found it. That it is not proves nothing against the drill, whose
// scope and journal show that it changed nothing outside its namespace: production goes on meanwhile.
func production(ctx context.Context, s *step.Session) string {
	p := s.Run.RollbackPoint
	if p == nil || p.ProductionDigest == "" {
		return ""
	}
	ns := s.Plan.Spec.Workload.Namespace
	now, err := prod.Read(ctx, s.Cluster, ns)
	switch {
	case err != nil:
		return fmt.Sprintf("namespace %s could not be compared: %v", ns, err)
	case now.Digest() == p.ProductionDigest:
		return fmt.Sprintf("all %d objects of namespace %s are as they were before the drill", len(now), ns)
	}
	return fmt.Sprintf("namespace %s changed during the drill, by others: the drill's journal holds no change of it", ns)
}
