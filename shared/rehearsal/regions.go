package rehearsal

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

// regions finds volumes whose snapshots are in another Region than the target. A snapshot's ID is valid in its Region only: the data
// must be in the bucket to be restored elsewhere
// (https://velero.io/docs/v1.18/csi-snapshot-data-movement/, https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html).
func (w *work) regions(ctx context.Context) error {
	var stay []run.BackupVolume
	for _, v := range w.Volumes {
		if v.Method == backup.MethodCSISnapshot || v.Method == backup.MethodNativeSnapshot {
			stay = append(stay, v)
		}
	}
	if len(stay) == 0 {
		return nil
	}
	to, err := w.targetRegion(ctx)
	if err != nil {
		return err
	}
	from := w.volumeRegions()
	unknown := 0
	away := map[string][]string{}
	for _, v := range stay {
		switch r := from[v.Claim]; {
		case r == "" || to == "":
			unknown++
		case r != to:
			away[r] = append(away[r], v.Claim)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(away)) {
		w.found(run.Stop, "volumes of Region "+r, "their snapshots cannot be read here: back up with data movement (snapshotMoveData), or restore in "+r,
			"%s have snapshots in Region %s, and the target is in %s", few(away[r]), r, to)
	}
	if unknown > 0 {
		side := "of the volumes"
		if to == "" {
			side = "of the target"
		}
		w.found(run.Note, "Region", "snapshots of another Region could not be read", "the Region %s is not known; %d volumes have only a snapshot", side, unknown)
	}
	return nil
}

func (w *work) targetRegion(ctx context.Context) (string, error) {
	if w.Region != "" {
		return w.Region, nil
	}
	nodes, err := cluster.List[corev1.Node](ctx, w.Cluster, cluster.Nodes, "", metav1.ListOptions{})
	if err != nil {
		return "", w.unread("Nodes", "the target's Region is not known", err)
	}
	for i := range nodes {
		if r := nodes[i].Labels[corev1.LabelTopologyRegion]; r != "" {
			return r, nil
		}
	}
	return "", nil
}

// volumeRegions maps claims to the Region that their volume was in.
func (w *work) volumeRegions() map[string]string {
	out := map[string]string{}
	for _, o := range w.PersistentVolumes {
		v, err := cluster.Decode[corev1.PersistentVolume](o)
		if err != nil || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.Namespace != w.Namespace {
			continue
		}
		out[v.Spec.ClaimRef.Name] = regionOf(v)
	}
	return out
}

// zone is an AWS Availability Zone: its Region and a letter. Local and Wavelength Zones have more after the Region's name
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-regions-availability-zones.html).
var zone = regexp.MustCompile(`^([a-z]{2}(?:-[a-z]+)+-\d+)(?:[a-z]|-[a-z0-9-]+)$`)

// regionOf reads a volume's Region from its labels, else from the zones that it can be used in.
func regionOf(v *corev1.PersistentVolume) string {
	if r := v.Labels[corev1.LabelTopologyRegion]; r != "" {
		return r
	}
	zones := []string{v.Labels[corev1.LabelTopologyZone], v.Labels[corev1.LabelFailureDomainBetaZone]}
	if v.Spec.NodeAffinity != nil && v.Spec.NodeAffinity.Required != nil {
		for _, t := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
			for _, e := range t.MatchExpressions {
				switch {
				case e.Key == corev1.LabelTopologyRegion && len(e.Values) > 0:
					return e.Values[0]
				case strings.HasSuffix(e.Key, "/zone"):
					zones = append(zones, e.Values...)
				}
			}
		}
	}
	for _, z := range zones {
		if m := zone.FindStringSubmatch(z); m != nil {
			return m[1]
		}
	}
	return ""
}

func snapshotClassOf(driver string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		d, _, _ := unstructured.NestedString(o.Object, "driver")
		return o.GetKind() == "VolumeSnapshotClass" && d == driver
	}
}

// priorities finds PriorityClasses that pods name and the target does not have: its admission refuses such pods.
func (w *work) priorities(ctx context.Context) error {
	users := map[string]string{}
	for _, it := range w.items {
		for _, path := range [][]string{{"spec", "template", "spec", "priorityClassName"}, {"spec", "jobTemplate", "spec", "template", "spec", "priorityClassName"}} {
			if name, _, _ := unstructured.NestedString(it.object.Object, path...); name != "" && !strings.HasPrefix(name, "system-") {
				users[name] = title(it.object)
			}
		}
	}
	if len(users) == 0 {
		return nil
	}
	have, err := cluster.List[named](ctx, w.Cluster, priorityClasses, "", metav1.ListOptions{})
	if err != nil {
		return w.unread("PriorityClasses", "whether the pods are admitted is not known", err)
	}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		switch {
		case slices.ContainsFunc(have, func(n named) bool { return n.Name == name }):
		case !w.Drill && w.inBackup("PriorityClass.scheduling.k8s.io", name):
			w.found(run.Note, "PriorityClass "+name, "it comes back from the backup", "does not exist on the target")
		default:
			w.found(run.Stop, "PriorityClass "+name, "no pod is admitted that names it", "%s", fmt.Sprintf("does not exist on the target; %s uses it", users[name]))
		}
	}
	return nil
}
