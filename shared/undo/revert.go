package undo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/mergepatch"
)

// revert sets the fields that the run changed back to their values before, and only those. A field whose value is neither
// the one the run left nor the one before was changed by somebody else: the entry is then left, with the field's name.
func (u *undoer) revert(ctx context.Context, e journal.Entry) error {
	have, ref, err := u.get(ctx, e)
	if err != nil {
		return err
	}
	if have == nil || string(have.GetUID()) != e.Object.UID {
		return u.left(ctx, e, fmt.Sprintf("the object with UID %s is gone", e.Object.UID))
	}
	before, err := decode(e.Before)
	if err != nil {
		return fault.New(fault.UndoIncomplete, "read the before-image of "+e.Object.String(), err)
	}
	after, err := afterImage(e, before)
	if err != nil {
		return u.left(ctx, e, err.Error())
	}
	back := map[string]any{}
	var foreign []string
	for _, c := range changes(before.Object, after.Object) {
		now := lookup(have.Object, c.path)
		switch {
		case same(now, c.was):
		case equal(now, c.is) || u.later(e, c.path, now):
			put(back, c.path, c.was) // nil when it was not set: null removes the field (RFC 7386)
		default:
			foreign = append(foreign, strings.Join(c.path, "."))
		}
	}
	if len(foreign) > 0 {
		return u.left(ctx, e, "somebody else changed it since: "+strings.Join(foreign, ", "))
	}
	if len(back) == 0 {
		return u.undone(ctx, e, "is as it was")
	}
	switch why, err := u.losesData(ctx, have, back); {
	case err != nil:
		return err
	case why != "" && slices.Contains(u.Replaced, have.GetName()):
		return u.undone(ctx, e, "stays Retain: its claim has another volume now, and this one is the evidence")
	case why != "":
		return u.left(ctx, e, why)
	}
	patch, err := json.Marshal(back)
	if err != nil {
		return fault.New(fault.Internal, "encode the patch of "+ref.String(), err)
	}
	ref.UID = have.GetUID()
	if _, err := u.Changer.Patch(ctx, ref, types.MergePatchType, patch, "", fmt.Sprintf("undo of change %d: put back as it was", e.Seq), journal.UndoNothing); err != nil {
		return err
	}
	if u.Changer.DryRun {
		return nil
	}
	return u.readBack(ctx, e, before, after)
}

// losesData says why putting fields back would delete data: a volume that no claim has is deleted under any other policy than Retain, by
// the provisioner as soon as its phase is Released
// (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reclaiming). The phase alone does not tell: it reads Bound until the
// volume controller has seen that the claim is gone, and a claim that is being deleted will be.
func (u *undoer) losesData(ctx context.Context, have *unstructured.Unstructured, back map[string]any) (string, error) {
	if have.GetKind() != "PersistentVolume" {
		return "", nil
	}
	policy, given, _ := unstructured.NestedString(back, "spec", "persistentVolumeReclaimPolicy")
	if !given || policy == string(corev1.PersistentVolumeReclaimRetain) {
		return "", nil
	}
	lost := func(why string, of ...any) (string, error) {
		return fmt.Sprintf(why, of...) + ": under the policy " + policy + " that it had its data would be deleted", nil
	}
	var pv corev1.PersistentVolume
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(have.Object, &pv); err != nil {
		return "", fault.New(fault.UndoIncomplete, "read PersistentVolume "+have.GetName(), err)
	}
	ref := pv.Spec.ClaimRef
	if ref == nil || pv.Status.Phase != corev1.VolumeBound {
		return lost("it is %q, no claim's", pv.Status.Phase)
	}
	claim, err := u.Cluster.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return lost("its claim %s/%s is gone", ref.Namespace, ref.Name)
	case err != nil:
		return "", cluster.Fault(fmt.Sprintf("read claim %s/%s of PersistentVolume %s", ref.Namespace, ref.Name, pv.Name), err)
	case claim.GetUID() != ref.UID:
		return lost("its claim %s/%s is gone, another one has its name", ref.Namespace, ref.Name)
	case claim.GetDeletionTimestamp() != nil:
		return lost("its claim %s/%s is being deleted", ref.Namespace, ref.Name)
	}
	return "", nil
}

// readBack compares every field that was to be put back with what the server has now.
func (u *undoer) readBack(ctx context.Context, e journal.Entry, before, after *unstructured.Unstructured) error {
	have, _, err := u.get(ctx, e)
	if err != nil {
		return err
	}
	if have == nil {
		return u.left(ctx, e, "it was put back and is gone now")
	}
	for _, c := range changes(before.Object, after.Object) {
		if !equal(lookup(have.Object, c.path), c.was) {
			return u.left(ctx, e, strings.Join(c.path, ".")+" was put back and reads otherwise")
		}
	}
	return u.undone(ctx, e, "as it was before")
}

// later tells whether a later change of this run left the value at the path: a value of our own, though not of this entry.
func (u *undoer) later(e journal.Entry, path []string, now any) bool {
	for _, l := range u.all {
		if l.Seq <= e.Seq || !sameObject(l.Object, e.Object) || l.Done == nil || len(l.Done.After) == 0 {
			continue
		}
		img, err := decode(l.Done.After)
		if err != nil {
			continue
		}
		if equal(lookup(img.Object, path), now) {
			return true
		}
	}
	return false
}

// afterImage is the object as the change left it: as the server answered, or, when the answer was lost, as the change's
// content makes it of the before-image.
func afterImage(e journal.Entry, before *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if e.Done != nil && len(e.Done.After) > 0 {
		after, err := decode(e.Done.After)
		if err != nil {
			return nil, fmt.Errorf("the image after the change cannot be read: %w", err)
		}
		if after.GetKind() == before.GetKind() {
			return after, nil
		}
	}
	content := map[string]any{}
	if err := kjson.Unmarshal(e.Content, &content); err != nil {
		return nil, fmt.Errorf("what was sent cannot be read: %w", err)
	}
	if e.Verb == journal.Patch {
		text, _ := content["patch"].(string)
		kind, _ := content["type"].(string)
		if sub, _ := content["subresource"].(string); kind != string(types.MergePatchType) || sub != "" {
			return nil, fmt.Errorf("the answer to a patch of type %q was lost: what it changed is not known", kind)
		}
		content = map[string]any{}
		if err := kjson.Unmarshal([]byte(text), &content); err != nil {
			return nil, fmt.Errorf("the patch that was sent cannot be read: %w", err)
		}
	}
	after := before.DeepCopy()
	mergepatch.Apply(after.Object, content)
	return after, nil
}

func decode(b []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	// kjson keeps whole numbers whole, as the dynamic client does.
	if err := kjson.Unmarshal(b, &u.Object); err != nil {
		return nil, err
	}
	if len(u.Object) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	return u, nil
}

// put sets a value in a nested map.
func put(m map[string]any, path []string, v any) {
	for _, p := range path[:len(path)-1] {
		next, ok := m[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[p] = next
		}
		m = next
	}
	m[path[len(path)-1]] = v
}

// lookup reads a value from a nested map; nil when it is not set.
func lookup(m map[string]any, path []string) any {
	for _, p := range path[:len(path)-1] {
		next, ok := m[p].(map[string]any)
		if !ok {
			return nil
		}
		m = next
	}
	return m[path[len(path)-1]]
}

// serverFields of metadata change with every write, or never.
var serverFields = []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink", "name", "namespace"}

func skipped(path []string) bool {
	switch path[0] {
	case "status", "apiVersion", "kind":
		return len(path) == 1
	case "metadata":
		return len(path) == 2 && slices.Contains(serverFields, path[1])
	}
	return false
}
