package inventory

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/cluster"
)

// snapshots finds the newest ready VolumeSnapshot of every claim of the namespace, with its handle from the content it is
// bound to (https://kubernetes.io/docs/concepts/storage/volume-snapshots/).
func (c *capture) snapshots() ([]Snapshot, error) {
	items, err := c.r.List(c.ctx, cluster.VolumeSnapshots, c.o.Namespace)
	if apierrors.IsNotFound(err) {
		return []Snapshot{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list VolumeSnapshots: %w", err)
	}
	newest := map[string]Snapshot{}
	for i := range items {
		s, ok, err := c.snapshot(&items[i])
		if err != nil {
			return nil, err
		}
		if have, dup := newest[s.Claim]; ok && (!dup || s.TakenAt.After(have.TakenAt)) {
			newest[s.Claim] = s
		}
	}
	out := make([]Snapshot, 0, len(newest))
	for _, s := range newest {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Snapshot) int { return strings.Compare(a.Claim, b.Claim) })
	return out, nil
}

// snapshot reads one VolumeSnapshot; ok is false when nothing can be restored from it.
func (c *capture) snapshot(vs *unstructured.Unstructured) (s Snapshot, ok bool, err error) {
	s.Claim, _, _ = unstructured.NestedString(vs.Object, "spec", "source", "persistentVolumeClaimName")
	ready, _, _ := unstructured.NestedBool(vs.Object, "status", "readyToUse")
	name, _, _ := unstructured.NestedString(vs.Object, "status", "boundVolumeSnapshotContentName")
	if s.Claim == "" || !ready || name == "" || vs.GetDeletionTimestamp() != nil {
		return s, false, nil
	}
	content, found, err := c.optional(cluster.VolumeSnapshotContents, "VolumeSnapshotContent", name)
	if err != nil || !found || content.GetDeletionTimestamp() != nil {
		return s, false, err
	}
	s.Driver, _, _ = unstructured.NestedString(content.Object, "spec", "driver")
	s.Handle, _, _ = unstructured.NestedString(content.Object, "status", "snapshotHandle")
	if bytes, has, _ := unstructured.NestedInt64(content.Object, "status", "restoreSize"); has && bytes > 0 {
		s.Size = resource.NewQuantity(bytes, resource.BinarySI).String()
	}
	// The content has nanoseconds since 1970, the snapshot the same instant in whole seconds.
	if ns, has, _ := unstructured.NestedInt64(content.Object, "status", "creationTime"); has {
		s.TakenAt = time.Unix(0, ns).UTC()
	} else if text, _, _ := unstructured.NestedString(vs.Object, "status", "creationTime"); text != "" {
		if s.TakenAt, err = time.Parse(time.RFC3339, text); err != nil {
			return s, false, fmt.Errorf("VolumeSnapshot %s: status.creationTime %q is not a time", vs.GetName(), text)
		}
	}
	return s, s.Driver != "" && s.Handle != "" && !s.TakenAt.IsZero(), nil
}
