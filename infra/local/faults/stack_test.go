package faults_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/sample/sampletest"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
)

// patience is how long a machine that does much else may take. It is more than the two minutes for which the attach/detach controller
// overlooks a VolumeAttachment that was deleted while it waited for it
// (https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/volume/csi/csi_plugin.go, csiTimeout).
const patience = 6 * time.Minute

type shop struct{ *sampletest.Shop }

// TestFaultsOnAStack breaks the sample in every way, looks at the cluster itself for what is broken, mends it as a recovery would
// where that is one step, and resets.
func TestFaultsOnAStack(t *testing.T) {
	s := shop{sampletest.Up(t)}
	checks := map[string]func(*testing.T){
		"attach-error":      s.attachError,
		"dead-node":         s.deadNode,
		"csi-driver-gone":   s.driverGone,
		"failed-scheduling": s.failedScheduling,
		"objects-deleted":   s.objectsDeleted,
		"everything-gone":   s.everythingGone,
		"bad-data":          func(t *testing.T) { s.WantOrders(t, sample.Orders, 600, sample.Orders) },
	}
	for _, f := range faults.List() {
		check := checks[f.Name]
		if f.Name == "api-server-down" {
			continue // TestAPIServerDown
		}
		if check == nil {
			t.Errorf("fault %s has no test", f.Name)
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			defer func() {
				if _, err := sample.Reset(t.Context(), s.Options); err != nil {
					t.Fatalf("reset: %v", err)
				}
				s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
				s.whole(t)
			}()
			if err := faults.Break(t.Context(), f.Name, faults.Options{StackDir: s.Dir, Timeout: patience, Progress: func(m string) { t.Log(m) }}); err != nil {
				t.Fatal(err)
			}
			check(t)
		})
	}
	t.Run("api-server-down", s.apiServerDown)
}

// whole checks that a reset left nothing of a fault.
func (s shop) whole(t *testing.T) {
	t.Helper()
	if fs, err := csidriver.Faults(s.Stack.Layout().CSIState()); err != nil || len(fs) != 0 {
		t.Errorf("faults of the driver: %v (%v), want none", fs, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "broken", "*")); len(left) != 0 {
		t.Errorf("not put back: %v", left)
	}
	nodes := list[corev1.Node](t, s, cluster.Nodes)
	if len(nodes) != stack.DefaultNodes {
		t.Errorf("%d nodes, want %d", len(nodes), stack.DefaultNodes)
	}
	for _, n := range nodes {
		if n.Spec.Unschedulable {
			t.Errorf("node %s takes no pods", n.Name)
		}
	}
	for _, pv := range list[corev1.PersistentVolume](t, s, cluster.PersistentVolumes) {
		if pv.Status.Phase != corev1.VolumeBound {
			t.Errorf("volume %s is %s, want only bound ones", pv.Name, pv.Status.Phase)
		}
	}
	if dirs, err := os.ReadDir(csidriver.VolumesDir(s.Stack.Layout().CSIState())); err != nil || len(dirs) != sample.Replicas {
		t.Errorf("%d volumes on disk (%v), want %d", len(dirs), err, sample.Replicas)
	}
}

func list[T any](t *testing.T, s shop, gvr schema.GroupVersionResource) []T {
	t.Helper()
	all, err := cluster.List[T](t.Context(), s.Client, gvr, "", metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// stuck returns the pods of the shop that are not ready.
func (s shop) stuck(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := sample.Pods(t.Context(), s.Client, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	var out []corev1.Pod
	for _, p := range pods {
		ready := false
		for _, c := range p.Status.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		if !ready {
			out = append(out, p)
		}
	}
	return out
}

func (s shop) attachError(t *testing.T) {
	if got := s.stuck(t); len(got) != 1 || got[0].Name != "pg-0" {
		t.Fatalf("stuck: %v, want pg-0", names(got))
	}
	for _, va := range list[storagev1.VolumeAttachment](t, s, cluster.VolumeAttachments) {
		if va.Status.AttachError != nil {
			// What a recovery does: reset the attachment.
			if err := s.Client.Dynamic.Resource(cluster.VolumeAttachments).Delete(t.Context(), va.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.awaitWhole(t)
			return
		}
	}
	t.Error("no VolumeAttachment has an attach error")
}

func (s shop) deadNode(t *testing.T) {
	if len(s.stuck(t)) == 0 {
		t.Fatal("every pod is ready")
	}
	nodes := map[string]bool{}
	for _, n := range list[corev1.Node](t, s, cluster.Nodes) {
		nodes[n.Name] = true
	}
	dangling := 0
	for _, va := range list[storagev1.VolumeAttachment](t, s, cluster.VolumeAttachments) {
		if !nodes[va.Spec.NodeName] && va.Status.Attached && va.DeletionTimestamp == nil {
			dangling++
			if err := s.Client.Dynamic.Resource(cluster.VolumeAttachments).Delete(t.Context(), va.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dangling == 0 {
		t.Fatal("no volume is attached to a node that is gone")
	}
	s.awaitWhole(t)
	s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
}

// awaitWhole waits until every server is ready.
func (s shop) awaitWhole(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := sample.AwaitReady(ctx, s.Client, sample.Namespace); err != nil {
		t.Fatal(err)
	}
}

func (s shop) driverGone(t *testing.T) {
	_, err := cluster.Get[storagev1.CSIDriver](t.Context(), s.Client, cluster.CSIDrivers, "", stack.DriverName)
	if !apierrors.IsNotFound(err) {
		t.Errorf("CSIDriver: %v, want not found", err)
	}
	_, err = cluster.Get[appsv1.Deployment](t.Context(), s.Client, cluster.Deployments, stack.CSIControllerNamespace, stack.CSIController)
	if !apierrors.IsNotFound(err) {
		t.Errorf("Deployment: %v, want not found", err)
	}
	if got := s.stuck(t); len(got) != 1 || got[0].Name != "pg-2" {
		t.Errorf("stuck: %v, want pg-2", names(got))
	}
}

func (s shop) failedScheduling(t *testing.T) {
	got := s.stuck(t)
	if len(got) != 1 || got[0].Spec.NodeName != "" {
		t.Fatalf("stuck: %v, want one that has no node", names(got))
	}
}

func (s shop) objectsDeleted(t *testing.T) {
	if pods, err := sample.Pods(t.Context(), s.Client, sample.Namespace); err != nil || len(pods) != 0 {
		t.Errorf("pods %v (%v), want none", names(pods), err)
	}
	for i := range sample.Replicas {
		c, err := cluster.Get[corev1.PersistentVolumeClaim](t.Context(), s.Client, cluster.PersistentVolumeClaims, sample.Namespace, sample.Claim(i))
		if err != nil || c.Status.Phase != corev1.ClaimBound || c.DeletionTimestamp != nil {
			t.Errorf("claim %s: %v, want it bound", sample.Claim(i), err)
		}
	}
}

func (s shop) everythingGone(t *testing.T) {
	_, err := cluster.Get[corev1.Namespace](t.Context(), s.Client, cluster.Namespaces, "", sample.Namespace)
	if !apierrors.IsNotFound(err) {
		t.Errorf("namespace: %v, want not found", err)
	}
	if pvs := list[corev1.PersistentVolume](t, s, cluster.PersistentVolumes); len(pvs) != 0 {
		t.Errorf("%d volumes are left, want none", len(pvs))
	}
	system, err := cluster.Get[corev1.Namespace](t.Context(), s.Client, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Client.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := inventory.VerifyDir(t.Context(), filepath.Join(s.Options.Dir, sample.InventoryDir), time.Now(),
		inventory.Target{ClusterUID: string(system.UID), KubernetesVersion: v.GitVersion}, time.Hour)
	if sig := r.Signal(); sig.Status != "False" {
		t.Errorf("the inventory's signal is %+v, want False", sig)
	}
}

// apiServerDown must bring the server back also when its caller gives up.
func (s shop) apiServerDown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := faults.Break(ctx, "api-server-down", faults.Options{StackDir: s.Dir, For: time.Hour, Progress: func(string) {
		if _, err := s.Client.Readyz(t.Context()); err == nil {
			t.Error("the API server answers while it is down")
		}
		cancel()
	}})
	if err == nil {
		t.Error("an outage that was given up is no error")
	}
	if r, err := s.Client.Readyz(t.Context()); err != nil || !r.Ready {
		t.Errorf("the API server after the outage: %+v (%v), want ready", r, err)
	}
	s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
}

func names(pods []corev1.Pod) []string {
	out := []string{}
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}
