package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a reason is about.
type Kind string

const (
	NodeAffinity   Kind = "NodeAffinity"
	Taint          Kind = "Taint"
	Resources      Kind = "Resources"
	VolumeAffinity Kind = "VolumeAffinity"
	VolumeCapacity Kind = "VolumeCapacity"
	VolumeMissing  Kind = "VolumeMissing"
	ClassMissing   Kind = "ClassMissing"
	TopologyLabel  Kind = "TopologyLabel"
	OtherPods      Kind = "OtherPods"
	ClaimsUnbound  Kind = "ClaimsUnbound"
	NodeState      Kind = "NodeState"
	Unclassified   Kind = "Unclassified"
)

// rule recognises a reason by a part of its text. permanent says what waiting does to it; where the text alone does not tell,
// judge looks at the nodes.
type rule struct {
	part      string
	kind      Kind
	permanent bool
	judge     func(p *corev1.PodSpec, nodes []corev1.Node, text string) bool
}

// rules, first match wins. The texts are kube-scheduler's of 1.36 (pkg/scheduler/framework/plugins/*), with the older wordings
// beside them. What depends on other pods or volumes, on a cordon or on a node's health passes; what depends on labels, taints set by
// people, node sizes and zones does not. Anything unknown is taken as passing: the tier's budget bounds it.
var rules = []rule{
	{part: "didn't match Pod's node affinity/selector", kind: NodeAffinity, permanent: true},
	{part: "didn't match scheduler-enforced node affinity", kind: NodeAffinity, permanent: true},
	{part: "didn't match the requested node name", kind: NodeAffinity, permanent: true},
	{part: "didn't satisfy plugin", kind: NodeAffinity, judge: noNodeMatches},
	{part: "untolerated taint", kind: Taint, judge: lastingTaints},
	{part: "taints that the pod didn't tolerate", kind: Taint, judge: lastingTaints},
	{part: "Insufficient ", kind: Resources, judge: neverFits},
	{part: "didn't match PersistentVolume's node affinity", kind: VolumeAffinity, permanent: true},
	{part: "volume node affinity conflict", kind: VolumeAffinity, permanent: true},
	{part: "had no available volume zone", kind: VolumeAffinity, permanent: true},
	// Volumes are deleted, and a driver's report comes late: after its class is made, or at the provisioner's next poll (a minute).
	// https://github.com/kubernetes-csi/external-provisioner#capacity-support
	{part: "did not have enough free storage", kind: VolumeCapacity},
	{part: "didn't find available persistent volumes to bind", kind: VolumeMissing, permanent: true},
	{part: "non-existent pv", kind: VolumeMissing, permanent: true},
	{part: "bound to non-existent persistentvolume", kind: VolumeMissing, permanent: true},
	{part: "no class for claim", kind: ClassMissing, permanent: true},
	{part: "failed to find storage class", kind: ClassMissing, permanent: true},
	{part: "storageclass.storage.k8s.io ", kind: ClassMissing, permanent: true},
	{part: "topology spread constraints (missing required label)", kind: TopologyLabel, permanent: true},
	{part: "topology spread constraints", kind: OtherPods},
	{part: "anti-affinity rules", kind: OtherPods},
	{part: "pod affinity rules", kind: OtherPods},
	{part: "free ports", kind: OtherPods},
	{part: "Too many pods", kind: OtherPods},
	{part: "max volume count", kind: OtherPods},
	{part: "ReadWriteOncePod", kind: OtherPods},
	{part: "unbound immediate PersistentVolumeClaims", kind: ClaimsUnbound},
	{part: "persistentvolumeclaim ", kind: ClaimsUnbound},
	{part: "were unschedulable", kind: NodeState},
	{part: "unknown conditions", kind: NodeState},
}

// Finding is a reason with what waiting does to it.
type Finding struct {
	Reason
	Kind      Kind
	Permanent bool
}

func (f Finding) String() string {
	if f.Nodes == 0 {
		return f.Text
	}
	return fmt.Sprintf("%d %s", f.Nodes, f.Text)
}

// Classify judges a scheduler's message for a pod on the cluster's nodes. permanent is true when every single reason is one
// that waiting cannot change: one node that may yet take the pod is enough to wait for it.
func Classify(p *corev1.PodSpec, nodes []corev1.Node, message string) (findings []Finding, permanent bool) {
	_, reasons, _ := Parse(message)
	permanent = len(reasons) > 0
	for _, r := range reasons {
		f := Finding{Reason: r, Kind: Unclassified}
		for _, rule := range rules {
			if !strings.Contains(r.Text, rule.part) {
				continue
			}
			f.Kind, f.Permanent = rule.kind, rule.permanent
			if rule.judge != nil {
				f.Permanent = rule.judge(p, nodes, r.Text)
			}
			break
		}
		permanent = permanent && f.Permanent
		findings = append(findings, f)
	}
	return findings, permanent
}

// noNodeMatches: the message names a plugin and not its reason ("node(s) didn't satisfy plugin(s) [NodeAffinity]").
func noNodeMatches(p *corev1.PodSpec, nodes []corev1.Node, text string) bool {
	if !strings.Contains(text, "NodeAffinity") || len(nodes) == 0 {
		return false
	}
	for i := range nodes {
		if MatchesNode(p, &nodes[i]) {
			return false
		}
	}
	return true
}

// lastingTaints: from 1.34 on the message no longer names the taint, so the nodes tell. True when every node that the pod's
// selector allows and that is tainted has at least one taint that does not go away by itself.
func lastingTaints(p *corev1.PodSpec, nodes []corev1.Node, _ string) bool {
	tainted := false
	for i := range nodes {
		if !MatchesNode(p, &nodes[i]) {
			continue
		}
		taints := Untolerated(p, &nodes[i])
		if len(taints) == 0 {
			continue
		}
		tainted = true
		lasting := false
		for _, t := range taints {
			lasting = lasting || !TransientTaint(t)
		}
		if !lasting {
			return false
		}
	}
	return tainted
}

// neverFits: the pod asks for more than any node that it may run on could ever give.
func neverFits(p *corev1.PodSpec, nodes []corev1.Node, text string) bool {
	_, name, _ := strings.Cut(text, "Insufficient ")
	allowed := 0
	for i := range nodes {
		n := &nodes[i]
		if !MatchesNode(p, n) || lasting(Untolerated(p, n)) {
			continue
		}
		allowed++
		if !exceeds(p, n, corev1.ResourceName(name)) {
			return false
		}
	}
	return allowed > 0
}

func lasting(taints []corev1.Taint) bool {
	for _, t := range taints {
		if !TransientTaint(t) {
			return true
		}
	}
	return false
}
