package scheduling

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, cpu string, labels map[string]string, taints ...corev1.Taint) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}
}

func asks(cpu string) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}}
}

func taint(key string) corev1.Taint {
	return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
}

func TestClassify(t *testing.T) {
	small := []corev1.Node{node("a", "4", nil), node("b", "4", nil)}
	for _, tc := range []struct {
		name      string
		pod       corev1.PodSpec
		nodes     []corev1.Node
		message   string
		kind      Kind
		permanent bool
	}{
		{"selector", asks("1"), small, "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", NodeAffinity, true},
		{"volume affinity", asks("1"), small, "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity.", VolumeAffinity, true},
		{"volume affinity, as it was", asks("1"), small, "0/2 nodes are available: 2 node(s) had volume node affinity conflict.", VolumeAffinity, true},
		{"no capacity, or not reported yet", asks("1"), small, "0/2 nodes are available: 2 node(s) did not have enough free storage.", VolumeCapacity, false},
		{"class missing", asks("1"), small, `0/2 nodes are available: storageclass.storage.k8s.io "fast" not found.`, ClassMissing, true},
		{"busy nodes", asks("1"), small, "0/2 nodes are available: 2 Insufficient cpu.", Resources, false},
		{"larger than every node", asks("5"), small, "0/2 nodes are available: 2 Insufficient cpu.", Resources, true},
		{"larger than one node", asks("5"), []corev1.Node{node("a", "4", nil), node("b", "8", nil)}, "0/2 nodes are available: 2 Insufficient cpu.", Resources, false},
		{"larger than every node it may use", asks("5"), []corev1.Node{node("a", "4", nil), node("b", "8", nil, taint("gpu"))},
			"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).", Resources, true},
		{"the larger node only restarts", asks("5"), []corev1.Node{node("a", "4", nil), node("b", "8", nil, taint("node.kubernetes.io/not-ready"))},
			"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).", Resources, false},
		{"taint of a person", asks("1"), []corev1.Node{node("a", "4", nil, taint("team")), node("b", "4", nil, taint("team"))},
			"0/2 nodes are available: 2 node(s) had untolerated taint(s).", Taint, true},
		{"taint of a failing node", asks("1"), []corev1.Node{node("a", "4", nil, taint("team")), node("b", "4", nil, taint("node.kubernetes.io/unreachable"))},
			"0/2 nodes are available: 2 node(s) had untolerated taint(s).", Taint, false},
		{"cordoned", asks("1"), small, "0/2 nodes are available: 2 node(s) were unschedulable.", NodeState, false},
		{"other pods", asks("1"), small, "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.", OtherPods, false},
		{"claims not bound yet", asks("1"), small, "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", ClaimsUnbound, false},
		{"one node may yet take it", asks("1"), small, "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable.", NodeAffinity, false},
		{"no nodes at all", asks("1"), nil, "no nodes available to schedule pods", Unclassified, false},
		{"unknown words", asks("1"), small, "0/2 nodes are available: 2 the moon is in the wrong phase.", Unclassified, false},
		{"nothing", asks("1"), small, "0/2 nodes are available: .", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			findings, permanent := Classify(&tc.pod, tc.nodes, tc.message)
			if permanent != tc.permanent {
				t.Errorf("permanent %v, expected %v: %+v", permanent, tc.permanent, findings)
			}
			if tc.kind == "" {
				return
			}
			if len(findings) == 0 || findings[0].Kind != tc.kind {
				t.Errorf("findings %+v, expected the first to be %s", findings, tc.kind)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	const (
		never = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
		later = "0/1 nodes are available: 1 node(s) were unschedulable."
	)
	nodes := []corev1.Node{node("a", "4", nil)}
	waiting := func(message string, since time.Duration) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-0", UID: "u0"}, Spec: asks("1"), Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message, LastTransitionTime: metav1.NewTime(now.Add(-since))}}}}
	}
	event := func(reason, message string, ago time.Duration) corev1.Event {
		at := metav1.NewTime(now.Add(-ago))
		return corev1.Event{Reason: reason, Message: message, InvolvedObject: corev1.ObjectReference{UID: "u0"}, FirstTimestamp: at, LastTimestamp: at}
	}
	scheduledPod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-1"}, Spec: corev1.PodSpec{NodeName: "a"}}
	terminating := waiting(never, time.Hour)
	terminating.DeletionTimestamp = &metav1.Time{Time: now}
	gated := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-2"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}}}
	for _, tc := range []struct {
		name   string
		pods   []corev1.Pod
		events []corev1.Event
		want   State
	}{
		{"all scheduled", []corev1.Pod{scheduledPod}, nil, Scheduled},
		{"no pods", nil, nil, Scheduled},
		{"persists", []corev1.Pod{scheduledPod, waiting(never, time.Minute)}, nil, Impossible},
		{"just as long as the plan says", []corev1.Pod{waiting(never, 30*time.Second)}, nil, Impossible},
		{"not for long enough", []corev1.Pod{waiting(never, 29*time.Second)}, nil, NotYetPersistent},
		{"waiting mends it", []corev1.Pod{waiting(later, time.Hour)}, nil, Transient},
		{"it waited for something else before", []corev1.Pod{waiting(never, time.Hour)},
			[]corev1.Event{event("FailedScheduling", later, time.Hour), event("FailedScheduling", never, 10*time.Second)}, NotYetPersistent},
		{"the event says how long", []corev1.Pod{waiting(never, time.Hour)}, []corev1.Event{event("FailedScheduling", never, time.Minute)}, Impossible},
		{"a node is being made", []corev1.Pod{waiting(never, time.Hour)}, []corev1.Event{event("TriggeredScaleUp", "", time.Minute)}, Transient},
		{"the autoscaler took it back", []corev1.Pod{waiting(never, time.Hour)},
			[]corev1.Event{event("TriggeredScaleUp", "", time.Minute), event("NotTriggerScaleUp", "", time.Second)}, Impossible},
		{"being deleted", []corev1.Pod{terminating}, nil, Scheduled},
		{"gated", []corev1.Pod{gated}, nil, Transient},
		{"the worst of several", []corev1.Pod{waiting(later, time.Hour), waiting(never, time.Hour)}, nil, Impossible},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v := Judge(tc.pods, nodes, tc.events, 30*time.Second, now); v.State != tc.want {
				t.Errorf("%s (%s), expected %s", v.State, v, tc.want)
			}
		})
	}
}

func TestMatchesNode(t *testing.T) {
	n := node("a", "4", map[string]string{"zone": "x", "size": "8"})
	affinity := func(terms ...corev1.NodeSelectorTerm) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}}
	}
	expr := func(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	for _, tc := range []struct {
		name string
		pod  corev1.PodSpec
		want bool
	}{
		{"nothing asked", corev1.PodSpec{}, true},
		{"selector", corev1.PodSpec{NodeSelector: map[string]string{"zone": "x"}}, true},
		{"other value", corev1.PodSpec{NodeSelector: map[string]string{"zone": "y"}}, false},
		{"no such label", corev1.PodSpec{NodeSelector: map[string]string{"disk": ""}}, false},
		{"other node by name", corev1.PodSpec{NodeName: "b"}, false},
		{"in", affinity(expr("zone", corev1.NodeSelectorOpIn, "w", "x")), true},
		{"not in", affinity(expr("zone", corev1.NodeSelectorOpNotIn, "x")), false},
		{"exists", affinity(expr("disk", corev1.NodeSelectorOpExists)), false},
		{"does not exist", affinity(expr("disk", corev1.NodeSelectorOpDoesNotExist)), true},
		{"greater", affinity(expr("size", corev1.NodeSelectorOpGt, "4")), true},
		{"less", affinity(expr("size", corev1.NodeSelectorOpLt, "4")), false},
		{"one of two terms", affinity(expr("zone", corev1.NodeSelectorOpIn, "y"), expr("zone", corev1.NodeSelectorOpIn, "x")), true},
		{"an empty term matches nothing", affinity(corev1.NodeSelectorTerm{}), false},
		{"by field", affinity(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}}}), true},
		{"unknown operator", affinity(expr("zone", "Like", "x")), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := MatchesNode(&tc.pod, &n); got != tc.want {
				t.Errorf("%v, expected %v", got, tc.want)
			}
		})
	}
}

func TestUntolerated(t *testing.T) {
	spec := func(tol ...corev1.Toleration) corev1.PodSpec { return corev1.PodSpec{Tolerations: tol} }
	valued := corev1.Taint{Key: "team", Value: "a", Effect: corev1.TaintEffectNoSchedule}
	for _, tc := range []struct {
		name  string
		pod   corev1.PodSpec
		taint corev1.Taint
		want  int
	}{
		{"none", spec(), valued, 1},
		{"preferred only", spec(), corev1.Taint{Key: "team", Effect: corev1.TaintEffectPreferNoSchedule}, 0},
		{"equal", spec(corev1.Toleration{Key: "team", Value: "a"}), valued, 0},
		{"other value", spec(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpEqual, Value: "b"}), valued, 1},
		{"exists", spec(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists}), valued, 0},
		{"everything", spec(corev1.Toleration{Operator: corev1.TolerationOpExists}), valued, 0},
		{"other effect", spec(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}), valued, 1},
		{"greater", spec(corev1.Toleration{Key: "level", Operator: "Gt", Value: "3"}), corev1.Taint{Key: "level", Value: "5", Effect: corev1.TaintEffectNoSchedule}, 0},
		{"not greater", spec(corev1.Toleration{Key: "level", Operator: "Gt", Value: "7"}), corev1.Taint{Key: "level", Value: "5", Effect: corev1.TaintEffectNoSchedule}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := node("a", "4", nil, tc.taint)
			if got := Untolerated(&tc.pod, &n); len(got) != tc.want {
				t.Errorf("%v, expected %d", got, tc.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	c := func(cpu string, always bool) corev1.Container {
		c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}
		if always {
			p := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &p
		}
		return c
	}
	for _, tc := range []struct {
		name string
		pod  corev1.PodSpec
		want string
	}{
		{"sum", corev1.PodSpec{Containers: []corev1.Container{c("1", false), c("2", false)}}, "3"},
		{"a large init container", corev1.PodSpec{InitContainers: []corev1.Container{c("4", false)}, Containers: []corev1.Container{c("1", false)}}, "4"},
		{"a sidecar counts beside both", corev1.PodSpec{InitContainers: []corev1.Container{c("1", true), c("4", false)}, Containers: []corev1.Container{c("2", false)}}, "5"},
		{"overhead", corev1.PodSpec{Containers: []corev1.Container{c("1", false)}, Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}}, "1500m"},
		{"the pod's own", corev1.PodSpec{Containers: []corev1.Container{c("1", false)}, Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("6")}}}, "6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Requests(&tc.pod)[corev1.ResourceCPU]
			if got.Cmp(resource.MustParse(tc.want)) != 0 {
				t.Errorf("%s, expected %s", got.String(), tc.want)
			}
		})
	}
}
