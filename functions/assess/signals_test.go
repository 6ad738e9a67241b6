package assess

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

var now = time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)

const driver = "csi.example.com"

func ptr[T any](v T) *T { return &v }

func node(name string, ready bool) corev1.Node {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}}}
}

func csiNode(name string, drivers ...string) storagev1.CSINode {
	n := storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, d := range drivers {
		n.Spec.Drivers = append(n.Spec.Drivers, storagev1.CSINodeDriver{Name: d})
	}
	return n
}

// well is a workload of one pod without a fault.
func well() *readings {
	class := "fast"
	pv := "v"
	return &readings{
		readyz: cluster.Readyz{Ready: true}, version: "v1.36.3",
		facts: &volume.Facts{
			Namespace: "shop", Name: "pg",
			StatefulSet: &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "pg", Namespace: "shop"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr(int32(1)),
				VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class}}}}},
			Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "pg-0"}, Spec: corev1.PodSpec{NodeName: "a", Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-pg-0"}}}}},
				Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}},
			Claims: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data-pg-0"}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeName: pv},
				Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}},
			Volumes: []corev1.PersistentVolume{{ObjectMeta: metav1.ObjectMeta{Name: pv}, Spec: corev1.PersistentVolumeSpec{
				ClaimRef:               &corev1.ObjectReference{Namespace: "shop", Name: "data-pg-0"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver}}}}},
			Attachments: []storagev1.VolumeAttachment{{ObjectMeta: metav1.ObjectMeta{Name: "va"},
				Spec:   storagev1.VolumeAttachmentSpec{NodeName: "a", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}},
				Status: storagev1.VolumeAttachmentStatus{Attached: true}}},
			Nodes:   []corev1.Node{node("a", true), node("b", true)},
			Drivers: []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: driver}}},
			Classes: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: driver}},
		},
		csiNodes: []storagev1.CSINode{csiNode("a", driver), csiNode("b", driver)},
		controller: &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}}},
		inventory: inventory.Result{Status: signal.True, Reason: inventory.ReasonVerified},
		etcd:      signal.Signal{Status: signal.NotApplicable, Reason: "ManagedEtcd"},
	}
}

func session(controller bool) *step.Session {
	p := &plan.Plan{}
	if controller {
		p.Spec.Volumes.Controller = &plan.DeploymentRef{Namespace: "kube-system", Name: "csi"}
	}
	return &step.Session{Plan: p, Now: func() time.Time { return now }}
}

func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*readings)
		signal signal.Name
		status signal.Status
		reason string
	}{
		{"ready", nil, signal.APIServerReady, signal.True, "Ready"},
		{"a check of /readyz fails", func(r *readings) { r.readyz = cluster.Readyz{Failed: []string{"etcd"}} }, signal.APIServerReady, signal.False, "NotReady"},

		{"driver healthy", nil, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"no CSIDriver", func(r *readings) { r.facts.Drivers = nil }, signal.CSIDriverHealthy, signal.False, "DriverMissing"},
		{"not on a node that should run it", func(r *readings) { r.csiNodes = r.csiNodes[:1] }, signal.CSIDriverHealthy, signal.False, "NotRegisteredOnNode"},
		{"not on a node that is down", func(r *readings) { r.csiNodes = r.csiNodes[:1]; r.facts.Nodes[1] = node("b", false) }, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"not on a node that is cordoned", func(r *readings) { r.csiNodes = r.csiNodes[:1]; r.facts.Nodes[1].Spec.Unschedulable = true }, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"not on a node that its selector leaves out", func(r *readings) {
			r.csiNodes = r.csiNodes[:1]
			r.facts.Nodes[0].Labels = map[string]string{"db": "yes"}
			r.facts.StatefulSet.Spec.Template.Spec.NodeSelector = map[string]string{"db": "yes"}
		}, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"a selector that no node has is not the driver's concern", func(r *readings) {
			r.facts.StatefulSet.Spec.Template.Spec.NodeSelector = map[string]string{"db": "no"}
		}, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"no node is ready", func(r *readings) { r.facts.Nodes = nil }, signal.CSIDriverHealthy, signal.Unknown, "NoNodes"},
		{"no controller", func(r *readings) { r.controller = nil }, signal.CSIDriverHealthy, signal.False, "ControllerMissing"},
		{"controller scaled to zero", func(r *readings) { r.controller.Status.AvailableReplicas = 0 }, signal.CSIDriverHealthy, signal.False, "ControllerUnavailable"},
		{"controller may not be read", func(r *readings) { r.controller, r.controllerErr = nil, fault.New(fault.PermissionDenied, "read", nil) }, signal.CSIDriverHealthy, signal.Unknown, "NotReadable"},
		{"an attach error is not its concern", func(r *readings) { attachError(r) }, signal.CSIDriverHealthy, signal.True, "Healthy"},
		{"nothing tells the driver", func(r *readings) {
			r.facts.Volumes, r.facts.Claims, r.facts.StatefulSet, r.facts.Attachments = nil, nil, nil, nil
		}, signal.CSIDriverHealthy, signal.Unknown, "DriverUndetermined"},
		{"the inventory tells the driver", func(r *readings) {
			r.facts.Volumes, r.facts.Claims, r.facts.Classes, r.facts.Drivers = nil, nil, nil, nil
			r.wanted = wanted{statefulSet: r.facts.StatefulSet, classes: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: driver}}}
			r.facts.StatefulSet = nil
		}, signal.CSIDriverHealthy, signal.False, "DriverMissing"},
		{"volumes without a driver", func(r *readings) {
			r.facts.Volumes[0].Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{}}
		}, signal.CSIDriverHealthy, signal.NotApplicable, "NoCSIDriver"},

		{"attached", nil, signal.VolumesAttached, signal.True, "Attached"},
		{"attach error", attachError, signal.VolumesAttached, signal.False, "AttachError"},
		{"under way", func(r *readings) { r.facts.Attachments[0].Status.Attached = false }, signal.VolumesAttached, signal.False, "UnderWay"},
		{"on a node that is gone", func(r *readings) { r.facts.Nodes = r.facts.Nodes[1:] }, signal.VolumesAttached, signal.False, "NodeGone"},
		{"nothing to attach", func(r *readings) { r.facts.Attachments, r.facts.Pods = nil, nil }, signal.VolumesAttached, signal.NotApplicable, "NothingToAttach"},

		{"bound", nil, signal.PVCsBound, signal.True, "Bound"},
		{"nothing exists", func(r *readings) { r.facts.StatefulSet, r.facts.Claims = nil, nil }, signal.PVCsBound, signal.False, "ObjectsMissing"},
		{"claims outlive their StatefulSet", func(r *readings) { r.facts.StatefulSet = nil }, signal.PVCsBound, signal.True, "Bound"},
		{"claims are not made yet", func(r *readings) { r.facts.Claims, r.facts.Volumes = nil, nil }, signal.PVCsBound, signal.True, "NotYetMade"},
		{"a claim that existed is gone", func(r *readings) { r.facts.Claims = nil }, signal.PVCsBound, signal.False, "ObjectsMissing"},
		{"a claim of the inventory is gone", func(r *readings) { r.facts.Claims, r.facts.Volumes = nil, nil; r.wanted.claims = []string{"data-pg-0"} }, signal.PVCsBound, signal.False, "ObjectsMissing"},
		{"want of a class", func(r *readings) { r.facts.Claims[0].Status.Phase = corev1.ClaimPending; r.facts.Classes = nil }, signal.PVCsBound, signal.False, "ClassMissing"},
		{"lost", func(r *readings) { r.facts.Claims[0].Status.Phase = corev1.ClaimLost }, signal.PVCsBound, signal.False, "Lost"},
		{"no claims are used", func(r *readings) { r.facts.StatefulSet.Spec.VolumeClaimTemplates = nil }, signal.PVCsBound, signal.NotApplicable, "NoClaims"},

		{"workload ready", nil, signal.WorkloadReady, signal.True, "Ready"},
		{"no StatefulSet", func(r *readings) { r.facts.StatefulSet = nil }, signal.WorkloadReady, signal.False, "ObjectsMissing"},
		{"a pod is missing", func(r *readings) { r.facts.Pods = nil }, signal.WorkloadReady, signal.False, "NotReady"},

		{"scheduled", nil, signal.SchedulingPossible, signal.True, "Scheduled"},
		{"no pods", func(r *readings) { r.facts.Pods = nil }, signal.SchedulingPossible, signal.Unknown, "NoPods"},
		{"impossible", func(r *readings) {
			unschedulable(r, "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.")
		}, signal.SchedulingPossible, signal.False, "SchedulingImpossible"},
		{"transient", func(r *readings) { unschedulable(r, "0/2 nodes are available: 2 node(s) were unschedulable.") }, signal.SchedulingPossible, signal.True, "Transient"},

		{"the driver is in no table", nil, signal.CSIDriverSupported, signal.Unknown, "DriverNotInTable"},
		{"the workload may not be read", func(r *readings) { r.factsErr = fault.New(fault.PermissionDenied, "list pods", nil) }, signal.PVCsBound, signal.Unknown, "NotReadable"},
		{"events may not be read", func(r *readings) { r.storageErr = fault.New(fault.PermissionDenied, "list events", nil) }, signal.CSIDriverHealthy, signal.Unknown, "NotReadable"},
		{"etcd", nil, signal.EtcdSnapshotVerified, signal.NotApplicable, "ManagedEtcd"},
		{"inventory", nil, signal.InventoryVerified, signal.True, "Verified"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := well()
			if tc.change != nil {
				tc.change(r)
			}
			set := r.signals(session(true))
			if len(set) != len(signal.Names) {
				t.Errorf("%d signals, expected %d", len(set), len(signal.Names))
			}
			if got := set[tc.signal]; got.Status != tc.status || got.Reason != tc.reason {
				t.Errorf("%s is %s/%s (%s), expected %s/%s", tc.signal, got.Status, got.Reason, got.Message, tc.status, tc.reason)
			}
		})
	}
}

func attachError(r *readings) {
	r.facts.Attachments[0].Status = storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{Message: "stuck"}}
}

func unschedulable(r *readings, message string) {
	r.facts.Pods[0].Spec.NodeName = ""
	r.facts.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
}

func TestWithoutControllerInThePlan(t *testing.T) {
	r := well()
	r.controller = nil
	got := r.driverHealthy(nil)
	if got.Status != signal.True || !strings.Contains(got.Message, "names no controller") {
		t.Errorf("%+v, expected True with a message that says what was not looked at", got)
	}
}

// TestSectionFits: a workload of a thousand broken pods stays below the section's limit.
func TestSectionFits(t *testing.T) {
	r := well()
	r.facts.StatefulSet.Spec.Replicas = ptr(int32(1000))
	for i := range 1000 {
		pv := fmt.Sprintf("pvc-%036d", i)
		r.facts.Volumes = append(r.facts.Volumes, corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: pv}, Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: fmt.Sprintf("data-pg-%d", i)}, PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver}}}})
		r.facts.Attachments = append(r.facts.Attachments, storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("x", 68)},
			Spec:   storagev1.VolumeAttachmentSpec{NodeName: "a", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}},
			Status: storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{Message: strings.Repeat("<", 4000)}}})
		r.csiNodes = nil
		r.facts.Nodes = append(r.facts.Nodes, node(fmt.Sprintf("node-%d", i), true))
	}
	r.inventory.Message = strings.Repeat("<", 4000)
	b, err := json.Marshal(run.Assess{Signals: fit(r.signals(session(true)))})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > run.SectionLimit {
		t.Errorf("%d bytes, expected at most %d", len(b), run.SectionLimit)
	}
}

func TestSupport(t *testing.T) {
	for _, tc := range []struct {
		name, driver, image, kubernetes string
		status                          signal.Status
	}{
		{"any later", "ebs.csi.aws.com", "public.ecr.aws/ebs-csi-driver/aws-ebs-csi-driver:v1.40.0", "v1.36.3", signal.True},
		{"an EKS build", "ebs.csi.aws.com", "602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/aws-ebs-csi-driver:v1.40.0-eksbuild.1@sha256:aa", "v1.36.3-eks-1", signal.True},
		{"too old a cluster", "ebs.csi.aws.com", "x/aws-ebs-csi-driver:v1.0.0", "v1.16.0", signal.False},
		{"too new a cluster", "ebs.csi.aws.com", "x/aws-ebs-csi-driver:v0.4.0", "v1.20.1", signal.False},
		{"just within", "ebs.csi.aws.com", "x/aws-ebs-csi-driver:v0.4.0", "v1.15.9", signal.True},
		{"no tag", "ebs.csi.aws.com", "reg:5000/aws-ebs-csi-driver", "v1.36.3", signal.Unknown},
		{"another image", "ebs.csi.aws.com", "x/csi-attacher:v4.0.0", "v1.36.3", signal.Unknown},
		{"older than the table", "ebs.csi.aws.com", "x/aws-ebs-csi-driver:v0.1.0", "v1.14.0", signal.Unknown},
		{"another driver", "csi.example.com", "x/aws-ebs-csi-driver:v1.40.0", "v1.36.3", signal.Unknown},
		{"a version that is none", "ebs.csi.aws.com", "x/aws-ebs-csi-driver:v1.40.0", "main", signal.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := well()
			r.version = tc.kubernetes
			r.facts.Volumes[0].Spec.CSI.Driver = tc.driver
			r.controller.Spec.Template.Spec.Containers = []corev1.Container{{Image: tc.image}}
			if got := r.driverSupported(); got.Status != tc.status {
				t.Errorf("%+v, expected %s", got, tc.status)
			}
		})
	}
}
