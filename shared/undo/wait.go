package undo

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
)

// settle waits until everything that is being deleted was read back as gone, and writes each down.
func (u *undoer) settle(ctx context.Context) error {
	var waiting error
	for len(u.deleting) > 0 {
		d := u.deleting[0]
		switch err := u.gone(ctx, d.ref); {
		case err == errWaiting: //nolint:errorlint // a sentinel of this package that nothing wraps
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
	source := cluster.Source{GVR: r.GVR, Namespace: r.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + r.Name}}
	return u.wait(ctx, "wait for the end of "+r.String(), source, isGone)
}

// noPods waits until no pod is left in a namespace.
func (u *undoer) noPods(ctx context.Context, namespace string) error {
	if u.Changer.DryRun {
		return nil
	}
	empty := func(ctx context.Context) (bool, error) {
		pods, err := cluster.List[corev1.Pod](ctx, u.Cluster, cluster.Pods, namespace, metav1.ListOptions{})
		return err == nil && len(pods) == 0, err
	}
	if ok, err := empty(ctx); ok || (err != nil && ctx.Err() == nil) {
		return cluster.Fault("list pods in "+namespace, err)
	}
	if u.NoWait || ctx.Err() != nil {
		return errWaiting
	}
	return u.wait(ctx, "wait for the pods of "+namespace+" to end", cluster.Source{GVR: cluster.Pods, Namespace: namespace}, empty)
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
