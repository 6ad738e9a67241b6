package restore

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/mergepatch"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/velero"
	"fallbackchain.io/fallback/shared/volume"
)

// startVelero has Velero restore the run's backup: it makes the resource modifiers and the Restore, both named after the run ID.
func startVelero(ctx context.Context, s *step.Session, out run.Restore) (run.Restore, error) {
	contents, err := s.Contents(ctx)
	if err != nil {
		return out, err
	}
	spec, from := s.Plan.Spec.Inventory.Velero, s.Plan.Spec.Workload.Namespace
	if err := known(ctx, s, contents.Name); err != nil {
		return out, err
	}
	st, err := workloadOf(contents.Objects, from, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return out, err
	}
	ch := s.Changer()
	p := &composed{s: s, ch: ch, contents: contents, from: from, modifiers: velero.Modifiers{Namespace: from}}
	if err := p.claims(ctx, volume.ClaimNames(st)); err != nil {
		return out, err
	}
	if err := p.objects(); err != nil {
		return out, err
	}
	name := velero.RestoreName(s.Run.ID)
	cm, err := p.modifiers.ConfigMap(spec.Namespace, name)
	if err != nil {
		return out, fault.New(fault.NotQualified, "restore backup "+contents.Name, err)
	}
	if _, err := ch.Create(ctx, cm, "what Velero changes in the objects so that they do no harm in the drill"); err != nil {
		return out, err
	}
	r := velero.NewRestore(velero.RestoreOptions{Name: name, Namespace: spec.Namespace, Backup: contents.Name, From: from, To: out.Namespace,
		Resources: p.resources(), Modifiers: name, OperationTimeout: s.Plan.Spec.Drill.RestoreBudget.D()})
	if _, err := ch.Create(ctx, r, "Velero restores backup "+contents.Name+" into the drill's namespace"); err != nil {
		return out, err
	}
	out.Phase, out.Objects = run.Started, p.count
	out.Claims = p.done[:min(len(p.done), claimItems)]
	out.LeftOut = run.Few(p.leftOut, listItems, listRunes)
	out.Velero = &run.VeleroRestore{Name: name, Backup: contents.Name}
	out.Message = fmt.Sprintf("Velero restores %d claims and %d objects of backup %s into %s, %d objects left out", len(p.done), p.count, contents.Name, out.Namespace, len(p.leftOut))
	return out, nil
}

// known refuses a backup that Velero cannot restore: one that it does not know, or knows from another place than was verified.
func known(ctx context.Context, s *step.Session, name string) error {
	spec := s.Plan.Spec.Inventory.Velero
	op := "restore backup " + name
	b, err := cluster.Get[velero.Backup](ctx, s.Cluster, velero.Backups, spec.Namespace, name)
	if apierrors.IsNotFound(err) {
		return fault.Newf(fault.ObjectsMissing, op, "Velero in namespace %s does not know it: it reads its location every minute, and the plan's is %s", spec.Namespace, spec.Location)
	}
	if err != nil {
		return cluster.Fault("read Backup "+spec.Namespace+"/"+name, err)
	}
	if b.Spec.StorageLocation != spec.StorageLocation {
		return fault.Newf(fault.NotQualified, op, "Velero has it in storage location %q, the plan in %q", b.Spec.StorageLocation, spec.StorageLocation)
	}
	l, err := cluster.Get[velero.BackupStorageLocation](ctx, s.Cluster, velero.BackupStorageLocations, spec.Namespace, spec.StorageLocation)
	if err != nil {
		return cluster.Fault("read BackupStorageLocation "+spec.Namespace+"/"+spec.StorageLocation, err)
	}
	switch {
	case !velero.SameLocation(l.Location(), spec.Location):
		return fault.Newf(fault.NotQualified, op, "storage location %s is %s, the plan's location is %s", l.Name, l.Location(), spec.Location)
	case l.Status.Phase != velero.LocationAvailable:
		return fault.Newf(fault.Unavailable, op, "storage location %s is %q, expected %s: %s", l.Name, l.Status.Phase, velero.LocationAvailable, l.Status.Message)
	}
	return nil
}

// composed is a restore while it is put together.
type composed struct {
	s         *step.Session
	ch        *change.Changer
	contents  *backup.Contents
	from      string
	modifiers velero.Modifiers

	done    []run.Snapshot
	count   int
	leftOut []string
}

// objects makes the modifiers of everything but claims.
func (p *composed) objects() error {
	to, statefulSet := p.s.Target(), p.s.Plan.Spec.Workload.StatefulSet
	labels := map[string]any{}
	for k, v := range p.ch.Labels() {
		labels[k] = v
	}
	for _, r := range p.resources() {
		but := ""
		if r == "configmaps" {
			but = rootCA // it is there already, and is the same
		}
		if err := p.modifiers.All(r, but, map[string]any{"metadata": map[string]any{"labels": labels}}); err != nil {
			return err
		}
	}
	// No PersistentVolume may come back: one whose data is in no snapshot would be a second object of production's own disk. Velero
	// leaves them out when they are not among the included resources; should one get so far, the API server refuses it without these.
	if err := p.modifiers.All("persistentvolumes", "", map[string]any{"spec": map[string]any{"capacity": nil, "accessModes": nil}}); err != nil {
		return err
	}
	for _, o := range p.contents.Objects {
		gk := o.GroupVersionKind().GroupKind()
		resource, kept := resources[gk]
		switch {
		case gk.Kind == "PersistentVolumeClaim" && gk.Group == "", derived[gk.Kind]:
			continue
		case o.GetNamespace() != p.from || !kept:
			if _, why := Neutralise(o, p.from, to); why != "" {
				p.leftOut = append(p.leftOut, title(o)+": "+why)
			}
			continue
		}
		patch, why, err := neutralPatch(o, p.from, to)
		if err != nil {
			return err
		}
		if why != "" {
			if gk.Kind == "StatefulSet" && o.GetName() == statefulSet {
				return fault.Newf(fault.NotQualified, "restore StatefulSet "+statefulSet, "%s", why)
			}
			if own := gk.Kind == "ConfigMap" || gk.Kind == "ServiceAccount"; !own { // the namespace has its own already
				why += " (it is restored without effect)"
			}
			p.leftOut = append(p.leftOut, title(o)+": "+why)
		} else {
			p.count++
		}
		if err := p.modifiers.Object(resource, o.GetName(), patch); err != nil {
			return fault.New(fault.Internal, "make "+title(o)+" harmless", err)
		}
	}
	return nil
}

// claims makes the modifiers of claims: the drill's own storage class where production's keeps its volumes, and no volume of production.
// A claim of the workload whose data the backup does not hold, or holds in a way that a drill cannot restore, stops the restore.
func (p *composed) claims(ctx context.Context, required []string) error {
	like, err := claimsOf(p.contents.Objects, p.from)
	if err != nil {
		return err
	}
	volumes := map[string]run.BackupVolume{}
	for _, v := range p.contents.Volumes {
		if v.Namespace == p.from {
			volumes[v.Claim] = v
		}
	}
	for _, name := range required {
		switch v := volumes[name]; {
		case like[name] == nil:
			return fault.Newf(fault.ObjectsMissing, "restore claim "+name, "backup %s does not hold it", p.contents.Name)
		case !backup.DrillRestores(v.Method):
			return fault.Newf(fault.NotQualified, "restore claim "+name, "backup %s %s", p.contents.Name, backup.NotInDrill(v.Method))
		}
	}
	cs, err := readClasses(ctx, p.s, p.ch)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(like)) {
		v, was := volumes[name], like[name]
		is := was.DeepCopy()
		is.Spec.VolumeName, is.Finalizers = "", nil
		switch {
		case backup.DrillRestores(v.Method):
			if err := cs.settle(ctx, is, v.Driver); err != nil {
				return err
			}
			snap := run.Snapshot{Claim: name, Driver: v.Driver, Handle: v.Handle, Size: v.Size}
			if at := p.contents.StartedAt; at != nil {
				snap.TakenAt = *at // the snapshots were taken after it: the data is no older than this
			}
			p.done = append(p.done, snap)
		case v.Method == backup.MethodPodVolumeBackup:
			p.leftOut = append(p.leftOut, "PersistentVolumeClaim "+name+": "+backup.NotInDrill(v.Method)+" (it is restored empty)")
			markWithoutData(is, p.s.Run.ID)
			if err := cs.settle(ctx, is, ""); err != nil {
				return err
			}
		default:
			p.leftOut = append(p.leftOut, "PersistentVolumeClaim "+name+": "+backup.NotInDrill(v.Method)+" (it is restored without a volume)")
			markWithoutData(is, p.s.Run.ID)
			unbindable(is, p.s.Run.ID)
		}
		if v.Method == backup.MethodDataMovement {
			is.Spec.DataSource, is.Spec.DataSourceRef = nil, nil // it names a snapshot of production's namespace
		}
		patch, err := claimPatch(was, is)
		if err != nil {
			return fault.New(fault.Internal, "make claim "+name+" harmless", err)
		}
		if err := p.modifiers.Object("persistentvolumeclaims", name, patch); err != nil {
			return fault.New(fault.Internal, "make claim "+name+" harmless", err)
		}
	}
	return nil
}

// unbindable makes a claim that no volume is ever made for or bound to.
func unbindable(c *corev1.PersistentVolumeClaim, runID string) {
	none := ""
	c.Spec.StorageClassName, c.Spec.DataSource, c.Spec.DataSourceRef = &none, nil, nil
	delete(c.Annotations, corev1.BetaStorageClassAnnotation)
	if c.Spec.Selector == nil {
		c.Spec.Selector = &metav1.LabelSelector{}
	}
	if c.Spec.Selector.MatchLabels == nil {
		c.Spec.Selector.MatchLabels = map[string]string{}
	}
	c.Spec.Selector.MatchLabels["fallbackchain.io/left-out"] = runID
}

func claimPatch(was, is *corev1.PersistentVolumeClaim) (map[string]any, error) {
	a, err := runtime.DefaultUnstructuredConverter.ToUnstructured(was)
	if err != nil {
		return nil, err
	}
	b, err := runtime.DefaultUnstructuredConverter.ToUnstructured(is)
	if err != nil {
		return nil, err
	}
	neutral := &unstructured.Unstructured{Object: b}
	stripMetadata(neutral)
	return mergepatch.Make(comparable(&unstructured.Unstructured{Object: a}), comparable(neutral), reflect.DeepEqual), nil
}

// resources are what Velero restores. Velero 1.18.3 and later restore a claim's VolumeSnapshot and its content whether they are included
// or not; earlier ones need them to be. Included, every VolumeSnapshot of the backup is restored, so that one of somebody else's
// which was not ready fails the whole restore: they are included only when all are the backup's own.
// https://github.com/vmware-tanzu/velero/blob/v1.18.3/changelogs/CHANGELOG-1.18.md (#10101)
func (p *composed) resources() []string {
	out := slices.Sorted(maps.Values(resources))
	for _, o := range p.contents.Objects {
		if o.GetKind() == "VolumeSnapshot" && o.GetNamespace() == p.from && o.GetLabels()[velero.LabelBackup] != p.contents.Name {
			return out
		}
	}
	return append(out, "volumesnapshots.snapshot.storage.k8s.io", "volumesnapshotcontents.snapshot.storage.k8s.io")
}
