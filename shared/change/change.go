// Package change is the only way in which a run changes a cluster. Every change is checked against the run's scope (a drill
// can reach nothing but what is its own), written to the journal, made only while the run still holds the lease, owned
// (field manager, labels) and carries the UID it was meant for. In a dry run it is said and not made.
package change

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// FieldManager owns every field that a run sets.
const FieldManager = "fallback-chain"

// Labels of everything that a run creates.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelRun       = "fallbackchain.io/run"
	LabelPlan      = "fallbackchain.io/plan"
	ManagedBy      = "fallback-chain"
)

// AnnotationTakenAt is on every claim that a run makes from a snapshot: when the snapshot was taken (RFC 3339). What the claim holds from
// before then came back, and nothing newer can have come with it.
const AnnotationTakenAt = "fallbackchain.io/snapshot-taken-at"

// Guard tells whether the run may still change things (it holds the lease).
type Guard interface {
	Check(ctx context.Context) error
}

// Ref names an object. UID, when set, must be the object's own: another object of the same name is left alone.
type Ref struct {
	GVR       schema.GroupVersionResource
	Kind      string
	Namespace string
	Name      string
	UID       types.UID
}

func (r Ref) String() string {
	return journal.Object{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.String()
}

// Changer makes changes for one state of one run.
type Changer struct {
	Client  dynamic.Interface
	Mapper  cluster.Mapper
	Journal journal.Journal
	Guard   Guard
	Scope   Scope
	Run     string
	Plan    string
	// State is the graph state that makes the changes.
	State string
	Now   func() time.Time
	// DryRun says what would be done to Say and does nothing.
	DryRun bool
	// Say hears of every change before it is made; may be nil.
	Say func(journal.Intent)
}

// Labels are the ownership labels of this run.
func (c *Changer) Labels() map[string]string {
	return map[string]string{LabelManagedBy: ManagedBy, LabelRun: c.Run, LabelPlan: c.Plan}
}

// own adds the ownership labels.
func (c *Changer) own(u *unstructured.Unstructured) {
	l := u.GetLabels()
	if l == nil {
		l = map[string]string{}
	}
	for k, v := range c.Labels() {
		l[k] = v
	}
	u.SetLabels(l)
}

// ref maps an object to its resource.
func (c *Changer) ref(u *unstructured.Unstructured) (Ref, error) {
	gvk := u.GroupVersionKind()
	m, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return Ref{}, cluster.Fault(fmt.Sprintf("map %s to a resource", gvk), err)
	}
	return Ref{GVR: m.Resource, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}, nil
}

// Create makes an object that does not exist yet, owned by the run. When one of this run's own is there already (a second
// call), it returns that one; an object of somebody else is OverwriteRefused. Undoing deletes it.
func (c *Changer) Create(ctx context.Context, u *unstructured.Unstructured, why string) (*unstructured.Unstructured, error) {
	return c.create(ctx, u, why, journal.UndoDelete)
}

// CreateKept is Create for what outlives the run (a snapshot): rollback does not delete it.
func (c *Changer) CreateKept(ctx context.Context, u *unstructured.Unstructured, why string) (*unstructured.Unstructured, error) {
	return c.create(ctx, u, why, journal.UndoNothing)
}

func (c *Changer) create(ctx context.Context, u *unstructured.Unstructured, why string, undo journal.Undo) (*unstructured.Unstructured, error) {
	u = u.DeepCopy()
	c.own(u)
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
	switch {
	case err == nil && have.GetLabels()[LabelRun] == c.Run:
		return have, nil
	case err == nil:
		return nil, fault.Newf(fault.OverwriteRefused, op, "it exists (UID %s) and is not this run's", have.GetUID())
	case !apierrors.IsNotFound(err):
		return nil, cluster.Fault(op, err)
	}
	return c.do(ctx, journal.Create, r, nil, u, why, undo, func() (*unstructured.Unstructured, error) {
		return ri.Create(ctx, u, metav1.CreateOptions{FieldManager: FieldManager})
	})
}

// Apply applies an object server-side. An existing object is changed only where overwrite allows it, and then undoing puts
// the before-image back; undoing a creation deletes the object. What is already so is not written again.
func (c *Changer) Apply(ctx context.Context, u *unstructured.Unstructured, overwrite bool, why string) (*unstructured.Unstructured, error) {
	u = u.DeepCopy()
	r, err := c.ref(u)
	if err != nil {
		return nil, err
	}
	op := "apply " + r.String()
	ri := c.Client.Resource(r.GVR).Namespace(r.Namespace)
	have, err := ri.Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		have, err = nil, nil
	}
	if err != nil {
		return nil, cluster.Fault(op, err)
	}
	undo := journal.UndoRestore
	if have == nil {
		c.own(u)
		undo = journal.UndoDelete
	} else if have.GetLabels()[LabelRun] == c.Run {
		c.own(u)
		undo = journal.UndoDelete
	}
	if err := c.Scope.Allows(r, existing(have), u.GetLabels()); err != nil {
		return nil, err
	}
	o := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if have != nil {
		o.DryRun = []string{metav1.DryRunAll}
		would, err := ri.Apply(ctx, r.Name, u, o)
		if err != nil {
			return nil, cluster.Fault(op, err)
		}
		if sameContent(have, would) {
			return have, nil
		}
		if !overwrite && undo != journal.UndoDelete {
			return nil, fault.Newf(fault.OverwriteRefused, op, "it exists with other content (UID %s) and the plan does not allow to change it", have.GetUID())
		}
		o.DryRun = nil
		u.SetUID(have.GetUID()) // a precondition: server-side apply refuses another object of the same name
	}
	return c.do(ctx, journal.Apply, r, have, u, why, undo, func() (*unstructured.Unstructured, error) {
		return ri.Apply(ctx, r.Name, u, o)
	})
}

// Patch patches an existing object (or a subresource of it). The patch carries the object's UID as a precondition. Undoing puts
// the before-image back, unless undo says that nothing is to be undone.
func (c *Changer) Patch(ctx context.Context, r Ref, pt types.PatchType, patch []byte, subresource, why string, undo journal.Undo) (*unstructured.Unstructured, error) {
	op := "patch " + r.String()
	ri := c.Client.Resource(r.GVR).Namespace(r.Namespace)
	have, err := ri.Get(ctx, r.Name, metav1.GetOptions{})
	if err != nil {
		return nil, cluster.Fault(op, err)
	}
	if r.UID != "" && have.GetUID() != r.UID {
		return nil, fault.Newf(fault.Conflict, op, "it is another object now: UID %s, expected %s", have.GetUID(), r.UID)
	}
	if err := c.Scope.allowed(journal.Patch, r, have, patch); err != nil {
		return nil, err
	}
	var subs []string
	if subresource != "" {
		subs = []string{subresource}
	}
	o := metav1.PatchOptions{FieldManager: FieldManager}
	if pt != types.ApplyPatchType {
		o.DryRun = []string{metav1.DryRunAll}
		would, err := ri.Patch(ctx, r.Name, pt, patch, o, subs...)
		if err != nil {
			return nil, cluster.Fault(op, err)
		}
		if sameContent(have, would) {
			return have, nil
		}
		o.DryRun = nil
	}
	if pt == types.MergePatchType {
		if patch, err = withPrecondition(patch, have); err != nil {
			return nil, fault.New(fault.Internal, op, err)
		}
	}
	content := &unstructured.Unstructured{Object: map[string]any{"patch": string(patch), "type": string(pt), "subresource": subresource}}
	return c.do(ctx, journal.Patch, r, have, content, why, undo, func() (*unstructured.Unstructured, error) {
		return ri.Patch(ctx, r.Name, pt, patch, o, subs...)
	})
}

// DeleteOptions of Delete.
type DeleteOptions struct {
	// Force deletes a pod at once (grace period 0), for a node that is gone.
	Force bool
	// Orphan leaves the dependents in place.
	Orphan bool
	// Undo defaults to UndoRestore: the before-image is created again.
	Undo journal.Undo
}

// Delete deletes the object with exactly this UID. What is gone already is no error.
func (c *Changer) Delete(ctx context.Context, r Ref, o DeleteOptions, why string) error {
	op := "delete " + r.String()
	if r.UID == "" {
		return fault.Newf(fault.Internal, op, "a delete needs the object's UID")
	}
	ri := c.Client.Resource(r.GVR).Namespace(r.Namespace)
	have, err := ri.Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && have.GetUID() != r.UID) {
		return nil
	}
	if err != nil {
		return cluster.Fault(op, err)
	}
	if err := c.Scope.allowed(journal.Delete, r, have, nil); err != nil {
		return err
	}
	if have.GetDeletionTimestamp() != nil && !o.Force {
		return nil
	}
	do := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &r.UID}}
	policy := metav1.DeletePropagationBackground
	if o.Orphan {
		policy = metav1.DeletePropagationOrphan
	}
	do.PropagationPolicy = &policy
	if o.Force {
		zero := int64(0)
		do.GracePeriodSeconds = &zero
	}
	undo := o.Undo
	if undo == "" {
		undo = journal.UndoRestore
	}
	_, err = c.do(ctx, journal.Delete, r, have, nil, why, undo, func() (*unstructured.Unstructured, error) {
		err := ri.Delete(ctx, r.Name, do)
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return nil, err
	})
	return err
}

// do writes the intent down, checks the lease, makes the change and writes down how it ended.
func (c *Changer) do(ctx context.Context, verb journal.Verb, r Ref, before, content *unstructured.Unstructured, why string, undo journal.Undo,
	make func() (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	op := string(verb) + " " + r.String()
	i := journal.Intent{State: c.State, At: c.Now(), Verb: verb, Why: why, Undo: undo,
		Object: journal.Object{APIVersion: r.GVR.GroupVersion().String(), Kind: r.Kind, Resource: r.GVR.Resource, Namespace: r.Namespace, Name: r.Name}}
	if before != nil {
		i.Object.UID = string(before.GetUID())
		b, err := image(before)
		if err != nil {
			return nil, fault.New(fault.Internal, op, err)
		}
		i.Before = b
	}
	if content != nil {
		b, err := json.Marshal(redact(content).Object)
		if err != nil {
			return nil, fault.New(fault.Internal, op, err)
		}
		i.Content = b
	}
	if c.Say != nil {
		c.Say(i)
	}
	if c.DryRun {
		if content != nil && content.GetKind() != "" {
			return content, nil
		}
		return before, nil
	}
	seq, err := c.Journal.Intend(ctx, i)
	if err != nil {
		return nil, fault.New(fault.JournalUnwritable, op, err)
	}
	d := journal.Done{Seq: seq}
	after, err := (*unstructured.Unstructured)(nil), c.Guard.Check(ctx)
	if err == nil {
		after, err = make()
		err = cluster.Fault(op, err)
	}
	d.At = c.Now()
	if err != nil {
		// A change whose answer was lost may have been made: only an error that says it was refused closes the entry.
		if fault.From(err).Code == fault.Unavailable {
			return nil, err
		}
		d.Error = err.Error()
	} else if after != nil {
		d.UID, d.ResourceVersion = string(after.GetUID()), after.GetResourceVersion()
		if before != nil && undo == journal.UndoRestore {
			if d.After, err = image(after); err != nil {
				return after, fault.New(fault.Internal, op, err)
			}
		}
	}
	if jerr := c.Journal.Done(ctx, d); jerr != nil && err == nil {
		return after, fault.New(fault.JournalUnwritable, op, jerr)
	}
	return after, err
}
