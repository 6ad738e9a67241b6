package volume

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// TroubleKind is what is wrong with an attachment, a node or a volume.
type TroubleKind string

const (
	// AttachError: the driver said that it cannot attach the volume, and never did.
	AttachError TroubleKind = "AttachError"
	// DetachError: the attachment is being deleted and the driver said that it cannot detach.
	DetachError TroubleKind = "DetachError"
	// NodeGone: a pod or an attachment is on a node whose object does not exist.
	NodeGone TroubleKind = "NodeGone"
	// NodeOutOfService: the node is not ready, and someone has declared it out of service by taint.
	NodeOutOfService TroubleKind = "NodeOutOfService"
	// NodeNotReady: the node is not ready, and nothing proves that it is down.
	NodeNotReady TroubleKind = "NodeNotReady"
	// Attaching and Detaching are under way, without an error.
	Attaching TroubleKind = "Attaching"
	Detaching TroubleKind = "Detaching"
	// VolumeTerminating: a volume is being deleted and a finalizer holds it.
	VolumeTerminating TroubleKind = "VolumeTerminating"
)

// Trouble is one thing between a workload and its volumes.
type Trouble struct {
	Kind TroubleKind
	// Attachment, Volume and Node say where; Pods are those of the workload that are on the node.
	Attachment *storagev1.VolumeAttachment
	Volume     *corev1.PersistentVolume
	Node       string
	Pods       []corev1.Pod
	// Since is when it began, as far as the objects tell.
	Since   time.Time
	Message string
}

func (t Trouble) String() string { return string(t.Kind) + ": " + t.Message }

// TaintOutOfService is set by people (never by this program) on a node that is proven down
// (https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-out-of-service).
const TaintOutOfService = "node.kubernetes.io/out-of-service"

// Troubles finds what is between the workload and its volumes, in a stable order. Errors that name no attachment (the pod
// waits for an attachment that nobody has asked for yet) are Attaching.
func (f *Facts) Troubles() []Trouble {
	var out []Trouble
	out = append(out, f.nodeTroubles()...)
	bad := map[string]bool{}
	for _, t := range out {
		bad[t.Node] = true
	}
	for i := range f.Attachments {
		if t, ok := f.attachmentTrouble(&f.Attachments[i]); ok && !bad[t.Node] {
			out = append(out, t)
		}
	}
	out = append(out, f.unattached(bad)...)
	for i := range f.Volumes {
		if v := &f.Volumes[i]; v.DeletionTimestamp != nil && len(v.Finalizers) > 0 {
			out = append(out, Trouble{Kind: VolumeTerminating, Volume: v, Since: v.DeletionTimestamp.Time,
				Message: fmt.Sprintf("volume %s is being deleted and held by %v", v.Name, v.Finalizers)})
		}
	}
	return out
}

// nodeTroubles finds the nodes that the workload has something on and that are not what they should be.
func (f *Facts) nodeTroubles() []Trouble {
	var names []string
	for _, p := range f.Pods {
		if p.Spec.NodeName != "" {
			names = append(names, p.Spec.NodeName)
		}
	}
	for _, a := range f.Attachments {
		names = append(names, a.Spec.NodeName)
	}
	slices.Sort(names)
	var out []Trouble
	for _, name := range slices.Compact(names) {
		n := f.Node(name)
		t := Trouble{Node: name, Pods: f.podsOn(name)}
		what := fmt.Sprintf("%d of the workload's pods and %d of its attachments are on it", len(t.Pods), len(f.AttachmentsOn(name)))
		switch {
		case n == nil:
			t.Kind, t.Message = NodeGone, fmt.Sprintf("node %s does not exist; %s", name, what)
		case NodeReady(n):
			continue
		case OutOfService(n):
			t.Kind, t.Since = NodeOutOfService, notReadySince(n)
			t.Message = fmt.Sprintf("node %s is not ready and tainted %s; %s", name, TaintOutOfService, what)
		default:
			t.Kind, t.Since = NodeNotReady, notReadySince(n)
			t.Message = fmt.Sprintf("node %s is not ready and nothing proves that it is down (when it is, taint it %s); %s", name, TaintOutOfService, what)
		}
		out = append(out, t)
	}
	return out
}

func (f *Facts) podsOn(node string) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(f.Pods), func(p corev1.Pod) bool { return p.Spec.NodeName != node })
}

// AttachmentsOn are the workload's attachments to a node.
func (f *Facts) AttachmentsOn(node string) []storagev1.VolumeAttachment {
	return slices.DeleteFunc(slices.Clone(f.Attachments), func(a storagev1.VolumeAttachment) bool { return a.Spec.NodeName != node })
}

func (f *Facts) attachmentTrouble(a *storagev1.VolumeAttachment) (Trouble, bool) {
	t := Trouble{Attachment: a, Volume: f.Volume(*a.Spec.Source.PersistentVolumeName), Node: a.Spec.NodeName, Since: a.CreationTimestamp.Time}
	where := fmt.Sprintf("volume %s on node %s (VolumeAttachment %s)", *a.Spec.Source.PersistentVolumeName, a.Spec.NodeName, a.Name)
	switch {
	case a.DeletionTimestamp != nil && a.Status.DetachError != nil:
		t.Kind, t.Since, t.Message = DetachError, a.DeletionTimestamp.Time, where+": "+a.Status.DetachError.Message
	case a.DeletionTimestamp != nil:
		t.Kind, t.Since, t.Message = Detaching, a.DeletionTimestamp.Time, where+" is being detached"
	case a.Status.Attached:
		return t, false
	case a.Status.AttachError != nil:
		t.Kind, t.Message = AttachError, where+": "+a.Status.AttachError.Message
	default:
		t.Kind, t.Message = Attaching, where+" is being attached"
	}
	return t, true
}

// unattached finds scheduled pods whose volume has no attachment to their node. Volumes whose driver needs none are left out.
func (f *Facts) unattached(skip map[string]bool) []Trouble {
	var out []Trouble
	for _, p := range f.Pods {
		if p.Spec.NodeName == "" || p.DeletionTimestamp != nil || skip[p.Spec.NodeName] {
			continue
		}
		for _, name := range ClaimsOfPod(&p) {
			v := f.volumeOfClaim(name)
			if v == nil || !f.NeedsAttach(v) || f.hasAttachment(v.Name, p.Spec.NodeName) {
				continue
			}
			out = append(out, Trouble{Kind: Attaching, Volume: v, Node: p.Spec.NodeName, Pods: []corev1.Pod{p}, Since: scheduledAt(&p),
				Message: fmt.Sprintf("volume %s has no attachment to node %s, where pod %s waits for it", v.Name, p.Spec.NodeName, p.Name)})
		}
	}
	return out
}

func (f *Facts) volumeOfClaim(claim string) *corev1.PersistentVolume {
	c := f.Claim(claim)
	if c == nil || c.Spec.VolumeName == "" {
		return nil
	}
	return f.Volume(c.Spec.VolumeName)
}

func (f *Facts) hasAttachment(volume, node string) bool {
	return slices.ContainsFunc(f.Attachments, func(a storagev1.VolumeAttachment) bool {
		return *a.Spec.Source.PersistentVolumeName == volume && a.Spec.NodeName == node
	})
}

// NeedsAttach tells whether the volume's driver attaches: a driver does unless its CSIDriver says otherwise
// (https://kubernetes-csi.github.io/docs/skip-attach.html).
func (f *Facts) NeedsAttach(v *corev1.PersistentVolume) bool {
	name := DriverOfVolume(v)
	if name == "" {
		return false
	}
	d := f.Driver(name)
	return d == nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// NodeReady tells whether the node's Ready condition is True. Unknown is not.
func NodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func notReadySince(n *corev1.Node) time.Time {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.LastTransitionTime.Time
		}
	}
	return n.CreationTimestamp.Time
}

// OutOfService tells whether someone has tainted the node as proven down.
func OutOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == TaintOutOfService })
}

func scheduledAt(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}
