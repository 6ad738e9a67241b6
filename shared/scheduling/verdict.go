package scheduling

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/volume"
)

// State is how a workload's scheduling stands.
type State string

const (
	// Scheduled: no pod waits for a node.
	Scheduled State = "Scheduled"
	// Transient: pods wait for something that waiting mends.
	Transient State = "Transient"
	// NotYetPersistent: the message names what waiting cannot change, but not for long enough.
	NotYetPersistent State = "NotYetPersistent"
	// Impossible: it names what waiting cannot change, and has for longer than the plan's persistence.
	Impossible State = "Impossible"
)

// Verdict is the judgement over a workload's pods.
type Verdict struct {
	State State
	// Pod is the pod that decided it, Message what the scheduler says of it.
	Pod     string
	Message string
	// Since is when what waiting cannot change was first seen.
	Since time.Time
	// Findings are the message's reasons.
	Findings []Finding
}

// String is for people.
func (v Verdict) String() string {
	switch v.State {
	case Scheduled:
		return "no pod waits for a node"
	case Impossible, NotYetPersistent:
		return fmt.Sprintf("pod %s since %s: %s", v.Pod, v.Since.UTC().Format(time.RFC3339), v.Message)
	default:
		return fmt.Sprintf("pod %s: %s", v.Pod, v.Message)
	}
}

// order of the states, worst first.
var order = []State{Impossible, NotYetPersistent, Transient, Scheduled}

// Judge returns the worst verdict over the pods. The scheduler's word is the pod's PodScheduled condition, which it keeps
// current; events tell since when it names what waiting cannot change, and whether an autoscaler has answered. A pod
// that is being deleted, or held by a scheduling gate, is not judged.
func Judge(pods []corev1.Pod, nodes []corev1.Node, events []corev1.Event, persistence time.Duration, now time.Time) Verdict {
	worst := Verdict{State: Scheduled}
	for i := range pods {
		v := judgePod(&pods[i], nodes, events, persistence, now)
		if slices.Index(order, v.State) < slices.Index(order, worst.State) {
			worst = v
		}
	}
	return worst
}

func judgePod(p *corev1.Pod, nodes []corev1.Node, events []corev1.Event, persistence time.Duration, now time.Time) Verdict {
	v := Verdict{State: Scheduled, Pod: p.Name}
	if p.Spec.NodeName != "" || p.DeletionTimestamp != nil {
		return v
	}
	cond := unschedulable(p)
	if cond == nil {
		return Verdict{State: Transient, Pod: p.Name, Message: "the scheduler has not looked at it, or a scheduling gate holds it"}
	}
	v.Message = cond.Message
	findings, permanent := Classify(&p.Spec, nodes, cond.Message)
	v.Findings = findings
	if !permanent || scalingUp(p, events) {
		v.State = Transient
		return v
	}
	v.Since = since(p, cond, nodes, events)
	v.State = NotYetPersistent
	if now.Sub(v.Since) >= persistence {
		v.State = Impossible
	}
	return v
}

// unschedulable is the condition with which the scheduler says that it found no node.
func unschedulable(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && (c.Reason == corev1.PodReasonUnschedulable || c.Reason == corev1.PodReasonSchedulerError) {
			return c
		}
	}
	return nil
}

// since is the later of the condition's transition and the first FailedScheduling event that names what waiting cannot change:
// a pod that at first waited for something else has not waited for this as long. Without events (they live for an hour) the
// condition alone tells.
func since(p *corev1.Pod, cond *corev1.PodCondition, nodes []corev1.Node, events []corev1.Event) time.Time {
	t := cond.LastTransitionTime.Time
	var first time.Time
	for i := range events {
		e := &events[i]
		if e.Reason != "FailedScheduling" || e.InvolvedObject.UID != p.UID {
			continue
		}
		if _, permanent := Classify(&p.Spec, nodes, e.Message); !permanent {
			continue
		}
		if s := volume.EventStart(e); first.IsZero() || s.Before(first) {
			first = s
		}
	}
	if first.After(t) {
		return first
	}
	return t
}

// scalingUp tells whether an autoscaler has said that it makes a node for the pod: TriggeredScaleUp (cluster-autoscaler),
// Nominated (Karpenter). A later refusal of the cluster-autoscaler (NotTriggerScaleUp) takes it back.
func scalingUp(p *corev1.Pod, events []corev1.Event) bool {
	var yes, no time.Time
	for i := range events {
		e := &events[i]
		if e.InvolvedObject.UID != p.UID {
			continue
		}
		switch t := volume.EventTime(e); e.Reason {
		case "TriggeredScaleUp", "Nominated":
			yes = later(yes, t)
		case "NotTriggerScaleUp", "FailedScaleUp":
			no = later(no, t)
		}
	}
	return yes.After(no)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Reasons lists the findings for a report.
func (v Verdict) Reasons() string {
	parts := make([]string, len(v.Findings))
	for i, f := range v.Findings {
		parts[i] = string(f.Kind)
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), ", ")
}
