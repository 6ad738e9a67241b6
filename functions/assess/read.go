package assess

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/etcdsnapshot"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// readings is all that an assessment read. Judging it is pure.
type readings struct {
	readyz  cluster.Readyz
	version string

	// facts is nil when factsErr is set: the readings of the workload were refused.
	facts    *volume.Facts
	factsErr error
	csiNodes []storagev1.CSINode
	events   []corev1.Event
	// storageErr is why csiNodes or events could not be read.
	storageErr error

	// controller is the plan's Deployment of the CSI controller; nil when the plan names none or it does not exist.
	controller    *appsv1.Deployment
	controllerErr error

	inventory inventory.Result
	// wanted is what the verified inventory says should exist; empty when there is none.
	wanted wanted
	etcd   signal.Signal
}

// read asks the API server for everything. An error means that the server could not be read at this moment (or that the
// credentials are refused); a verb that is forbidden only makes the signals that need it Unknown.
func (h *Handler) read(ctx context.Context, s *step.Session, ready cluster.Readyz) (*readings, error) {
	r := &readings{readyz: ready}
	v, err := s.Cluster.Version(ctx)
	if err != nil {
		return nil, cluster.Fault("read the API server's version", err)
	}
	r.version = v.GitVersion
	w := s.Plan.Spec.Workload
	if r.facts, r.factsErr = volume.Read(ctx, s.Cluster, s.Target(), w.StatefulSet); fatal(r.factsErr) {
		return nil, r.factsErr
	}
	if r.storageErr = r.readStorage(ctx, s); fatal(r.storageErr) {
		return nil, r.storageErr
	}
	if r.controllerErr = r.readController(ctx, s); fatal(r.controllerErr) {
		return nil, r.controllerErr
	}
	if err := r.readInventory(ctx, s); err != nil {
		return nil, err
	}
	etcd := h.Etcd
	if etcd == nil {
		etcd = etcdsnapshot.Managed{}
	}
	r.etcd = etcd.Verify(ctx, "")
	return r, nil
}

// fatal errors end the attempt: what may be read in a moment, and credentials that are refused altogether.
func fatal(err error) bool {
	if err == nil {
		return false
	}
	f := fault.From(err)
	return f.Class() == fault.Retry || f.Code == fault.Unauthorized || errors.Is(err, context.Canceled)
}

func (r *readings) readStorage(ctx context.Context, s *step.Session) (err error) {
	if r.csiNodes, err = cluster.List[storagev1.CSINode](ctx, s.Cluster, cluster.CSINodes, "", metav1.ListOptions{}); err != nil {
		return cluster.Fault("list CSINodes", err)
	}
	if r.events, err = cluster.List[corev1.Event](ctx, s.Cluster, cluster.Events, s.Target(), metav1.ListOptions{}); err != nil {
		return cluster.Fault("list the events of namespace "+s.Target(), err)
	}
	return nil
}

func (r *readings) readController(ctx context.Context, s *step.Session) error {
	d := s.Plan.Spec.Volumes.Controller
	if d == nil {
		return nil
	}
	c, err := cluster.Get[appsv1.Deployment](ctx, s.Cluster, cluster.Deployments, d.Namespace, d.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	r.controller = c
	return cluster.Fault("read Deployment "+d.Namespace+"/"+d.Name, err)
}

// readInventory verifies the inventory and takes from it what the other signals need when the live objects are gone.
func (r *readings) readInventory(ctx context.Context, s *step.Session) error {
	b, result, err := s.VerifiedInventory(ctx)
	if b != nil {
		defer func() { _ = b.Close() }()
	}
	if fatal(err) {
		return err
	}
	if err != nil {
		result = inventory.Result{Status: signal.Unknown, Reason: inventory.ReasonTargetUnknown, Message: err.Error()}
	}
	r.inventory = result
	if b == nil || result.Status != signal.True {
		return nil
	}
	objects, findings := b.Objects(ctx)
	if len(findings) > 0 {
		// It verified a moment ago and does not now: somebody is changing it.
		r.inventory = inventory.Result{Status: signal.False, Reason: inventory.ReasonFilesBroken, Message: findings[0].String(), Findings: findings}
		return nil
	}
	r.wanted = wantedOf(objects, &b.Manifest, s.Plan.Spec.Workload.StatefulSet)
	return nil
}
