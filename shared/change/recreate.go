package change

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// Recreate makes an object again from its before-image, with the labels it had: it belongs to whom it belonged to, not to
// the run. Fields that the server sets are left out. An object that is there already is OverwriteRefused. It is a
// compensation itself, so undoing it is not needed.
func (c *Changer) Recreate(ctx context.Context, u *unstructured.Unstructured, why string) (*unstructured.Unstructured, error) {
	u = Bare(u)
	r, err := c.ref(u)
	if err != nil {
		return nil, err
	}
	op := "create " + r.String()
	if err := c.Scope.Allows(r, nil, u.GetLabels()); err != nil {
		return nil, err
	}
	ri := c.Client.Resource(r.GVR).Namespace(r.Namespace)
	have, err := ri.Get(ctx, r.Name, metav1.GetOptions{})
	if err == nil {
		return nil, fault.Newf(fault.OverwriteRefused, op, "there is one already (UID %s)", have.GetUID())
	}
	if !apierrors.IsNotFound(err) {
		return nil, cluster.Fault(op, err)
	}
	return c.do(ctx, journal.Create, r, nil, u, why, journal.UndoNothing, func() (*unstructured.Unstructured, error) {
		return ri.Create(ctx, u, metav1.CreateOptions{FieldManager: FieldManager})
	})
}

// Bare is a copy without the fields that the server sets: what may be sent to create the object.
func Bare(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = u.DeepCopy()
	for _, f := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "managedFields", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	return u
}
