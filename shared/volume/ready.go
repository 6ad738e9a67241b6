package volume

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// PodReady tells whether the pod is ready and stays.
func PodReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Waiting says, for every ordinal of the StatefulSet, what keeps its pod from being ready; empty means that all are. It looks
// at the pods themselves and not at the StatefulSet's counts, which are as old as its controller. A StatefulSet that does
// not exist, is not observed yet or wants no pods is never ready.
func (f *Facts) Waiting() []string {
	s := f.StatefulSet
	switch {
	case s == nil:
		return []string{fmt.Sprintf("StatefulSet %s/%s does not exist", f.Namespace, f.Name)}
	case s.DeletionTimestamp != nil:
		return []string{fmt.Sprintf("StatefulSet %s/%s is being deleted", f.Namespace, f.Name)}
	case Replicas(s) == 0:
		return []string{fmt.Sprintf("StatefulSet %s/%s is scaled to zero", f.Namespace, f.Name)}
	}
	var out []string
	if s.Status.ObservedGeneration < s.Generation {
		out = append(out, fmt.Sprintf("StatefulSet %s/%s: generation %d is not observed yet", f.Namespace, f.Name, s.Generation))
	}
	for i := range Replicas(s) {
		name := s.Name + "-" + strconv.Itoa(int(Start(s)+i))
		if why := f.podWaits(name); why != "" {
			out = append(out, "pod "+name+" "+why)
		}
	}
	return out
}

func (f *Facts) podWaits(name string) string {
	for i := range f.Pods {
		p := &f.Pods[i]
		if p.Name != name {
			continue
		}
		switch {
		case PodReady(p):
			return ""
		case p.DeletionTimestamp != nil:
			return "is being deleted"
		case p.Spec.NodeName == "":
			return "is not scheduled"
		default:
			return fmt.Sprintf("on node %s is not ready (%s%s)", p.Spec.NodeName, p.Status.Phase, containerReason(p))
		}
	}
	return "does not exist"
}

func containerReason(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return ", " + w.Reason
		}
	}
	return ""
}
