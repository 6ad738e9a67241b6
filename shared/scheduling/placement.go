package scheduling

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// MatchesNode tells whether the pod's nodeSelector and required node affinity let it run on the node
// (https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity: terms are ORed, a term's
// expressions are ANDed, an empty term matches nothing).
func MatchesNode(p *corev1.PodSpec, n *corev1.Node) bool {
	if p.NodeName != "" && p.NodeName != n.Name {
		return false
	}
	for k, v := range p.NodeSelector {
		if have, ok := n.Labels[k]; !ok || have != v {
			return false
		}
	}
	if p.Affinity == nil || p.Affinity.NodeAffinity == nil || p.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	terms := p.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool { return matchesTerm(t, n) })
}

func matchesTerm(t corev1.NodeSelectorTerm, n *corev1.Node) bool {
	if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
		return false
	}
	for _, e := range t.MatchExpressions {
		if !matchesExpression(e, n.Labels) {
			return false
		}
	}
	for _, e := range t.MatchFields {
		// metadata.name is the only field there is.
		if !matchesExpression(e, labels.Set{"metadata.name": n.Name}) {
			return false
		}
	}
	return true
}

var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
	corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

func matchesExpression(e corev1.NodeSelectorRequirement, have labels.Set) bool {
	op, ok := operators[e.Operator]
	if !ok {
		return false
	}
	r, err := labels.NewRequirement(e.Key, op, e.Values)
	return err == nil && r.Matches(have)
}

// Untolerated are the node's taints that keep the pod away (NoSchedule and NoExecute).
func Untolerated(p *corev1.PodSpec, n *corev1.Node) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule {
			continue
		}
		if !slices.ContainsFunc(p.Tolerations, func(tol corev1.Toleration) bool { return tolerates(tol, t) }) {
			out = append(out, t)
		}
	}
	return out
}

// tolerates follows https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/: an empty key with
// Exists tolerates everything, an empty effect every effect.
func tolerates(tol corev1.Toleration, t corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect {
		return false
	}
	if tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return tol.Key != "" && tol.Value == t.Value
	case "Gt", "Lt":
		want, err1 := strconv.ParseInt(tol.Value, 10, 64)
		have, err2 := strconv.ParseInt(t.Value, 10, 64)
		if err1 != nil || err2 != nil {
			return false
		}
		if tol.Operator == "Gt" {
			return have > want
		}
		return have < want
	}
	return false
}

// transientTaints are set by Kubernetes or an autoscaler for a time and taken away again
// (https://kubernetes.io/docs/reference/labels-annotations-taints/; the autoscalers' own:
// https://github.com/kubernetes/autoscaler cluster-autoscaler/utils/taints, https://karpenter.sh/docs/concepts/disruption/).
var transientTaints = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure,
	corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable,
	"node.cloudprovider.kubernetes.io/uninitialized", "node.cloudprovider.kubernetes.io/shutdown",
	"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/unregistered",
}

// TransientTaint tells whether a taint goes away by itself.
func TransientTaint(t corev1.Taint) bool {
	return slices.Contains(transientTaints, t.Key) || strings.HasSuffix(t.Key, "/agent-not-ready")
}

// Schedulable tells whether a node may take the pod as far as placement goes: ready, not cordoned, matching and tolerated.
func Schedulable(p *corev1.PodSpec, n *corev1.Node) bool {
	return !n.Spec.Unschedulable && MatchesNode(p, n) && len(Untolerated(p, n)) == 0
}

// Requests is what the pod asks of a node: the sum of its containers and restartable init containers, or the largest other
// init container with what ran before it, whichever is more, plus overhead
// (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers).
func Requests(p *corev1.PodSpec) corev1.ResourceList {
	sum, init, sidecars := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for _, c := range p.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(sum, c.Resources.Requests)
			add(sidecars, c.Resources.Requests)
			most(init, sidecars)
			continue
		}
		need := sidecars.DeepCopy()
		add(need, c.Resources.Requests)
		most(init, need)
	}
	for _, c := range p.Containers {
		add(sum, c.Resources.Requests)
	}
	most(sum, init)
	if p.Resources != nil {
		for k, v := range p.Resources.Requests {
			sum[k] = v.DeepCopy()
		}
	}
	add(sum, p.Overhead)
	return sum
}

func add(to, l corev1.ResourceList) {
	for k, v := range l {
		have := to[k]
		have.Add(v)
		to[k] = have
	}
}

func most(to, l corev1.ResourceList) {
	for k, v := range l {
		if have, ok := to[k]; !ok || have.Cmp(v) < 0 {
			to[k] = v.DeepCopy()
		}
	}
}

// exceeds tells whether the pod asks for more of a resource than the node could ever give. A resource the node does not
// offer is nothing.
func exceeds(p *corev1.PodSpec, n *corev1.Node, name corev1.ResourceName) bool {
	want, ok := Requests(p)[name]
	if !ok {
		return false
	}
	have, ok := n.Status.Allocatable[name]
	if !ok {
		have = resource.Quantity{}
	}
	return want.Cmp(have) > 0
}
