package undo

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	source := cluster.Source{GVR: r.GVR, Namespace: r.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + r.Name}}
	return u.wait(ctx, "wait for the end of "+r.String(), source, isGone)
}

// users waits until nothing needs an object any more that is about to be deleted: the pods of a namespace; in a drill the pods behind
// a policy, for the last ones must not run without it.
func (u *undoer) users(ctx context.Context, o journal.Object) error {
	switch {
	case isNamespace(o):
		return u.noPods(ctx, o.Name)
	case u.Changer.Scope.Drill && o.Resource == cluster.NetworkPolicies.Resource:
		return u.noPods(ctx, o.Namespace)
	}
	return nil
}

// noPods waits until no pod is left in a namespace.
func (u *undoer) noPods(ctx context.Context, namespace string) error {
	if u.Changer.DryRun {
		return nil
	}
	empty := func(ctx context.Context) (bool, error) {
		pods, err := u.Cluster.Dynamic.Resource(cluster.Pods).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil && len(pods.Items) == 0, err
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
