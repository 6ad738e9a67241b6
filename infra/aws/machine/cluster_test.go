package machine_test

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/shared/velero"
)

// namespaced are the kinds that a drill could touch in production, and a run could leave behind.
func namespaced() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{cluster.NetworkPolicies, cluster.Pods, cluster.StatefulSets, cluster.PersistentVolumeClaims,
		cluster.VolumeSnapshots, cluster.Secrets, cluster.Services, cluster.ConfigMaps}
}

func (b *bed) list(t *testing.T, gvr schema.GroupVersionResource, namespace, selector string) []unstructured.Unstructured {
	t.Helper()
	l, err := b.client.Dynamic.Resource(gvr).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return l.Items
}

// versions are the resourceVersions of everything in a namespace, and of its volumes.
func (b *bed) versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, gvr := range namespaced() {
		for _, u := range b.list(t, gvr, namespace, "") {
			out[gvr.Resource+"/"+u.GetName()] = u.GetResourceVersion()
		}
	}
	for _, u := range b.list(t, cluster.PersistentVolumes, "", "") {
		if ns, _, _ := unstructured.NestedString(u.Object, "spec", "claimRef", "namespace"); ns == namespace {
			out["volume/"+u.GetName()] = u.GetResourceVersion()
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d objects are compared: %v", len(out), out)
	}
	return out
}

// remnant is an object that a run left.
type remnant struct {
	gvr schema.GroupVersionResource
	unstructured.Unstructured
}

// remnants are the objects that carry a run's label, in whatever namespace or in none; and what has no namespace and no label and yet
// belongs to the run's drill: volumes, and contents of snapshots, whose claim or snapshot is in the drill's namespace.
func (b *bed) remnants(t *testing.T, runID string) (out []remnant) {
	t.Helper()
	label := change.LabelRun + "=" + runID
	for _, gvr := range append(namespaced(), cluster.Namespaces, cluster.StorageClasses, velero.Restores) {
		for _, u := range b.list(t, gvr, "", label) {
			out = append(out, remnant{gvr, u})
		}
	}
	for gvr, ref := range map[schema.GroupVersionResource]string{cluster.PersistentVolumes: "claimRef", cluster.VolumeSnapshotContents: "volumeSnapshotRef"} {
		for _, u := range b.list(t, gvr, "", "") {
			in, _, _ := unstructured.NestedString(u.Object, "spec", ref, "namespace")
			if u.GetLabels()[change.LabelRun] == runID || in == runid.DrillNamespace(runID) {
				out = append(out, remnant{gvr, u})
			}
		}
	}
	return out
}

// left names what a run left.
func (b *bed) left(t *testing.T, runID string) (out []string) {
	t.Helper()
	for _, r := range b.remnants(t, runID) {
		out = append(out, r.gvr.Resource+" "+r.GetNamespace()+"/"+r.GetName())
	}
	return out
}

func (b *bed) nothingLeft(t *testing.T, runID string) {
	t.Helper()
	if left := b.left(t, runID); len(left) > 0 {
		t.Errorf("run %s left behind %v", runID, left)
	}
	if b.holdsLease(t, runID) {
		t.Errorf("run %s holds the lease", runID)
	}
}

func (b *bed) holdsLease(t *testing.T, runID string) bool {
	t.Helper()
	return slices.ContainsFunc(b.list(t, cluster.Leases, "fallback-chain", ""), func(u unstructured.Unstructured) bool {
		holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
		return holder == runID
	})
}

func (b *bed) breakIt(t *testing.T, name string) {
	t.Helper()
	o := faults.Options{StackDir: b.stack.Layout().Dir, SampleDir: filepath.Dir(filepath.Join(b.options.Dir, sample.PlanFile)), Progress: func(s string) { t.Log(s) }}
	if err := faults.Break(t.Context(), name, o); err != nil {
		t.Fatalf("break %s: %v", name, err)
	}
}

// startByHand starts an execution with a person's input, past intake.
func (b *bed) startByHand(t *testing.T, mode run.Mode) (execution string) {
	t.Helper()
	random := make([]byte, 2)
	_, _ = rand.Read(random)
	id := "shop-" + string(mode) + "-" + time.Now().UTC().Format("20060102150405") + "-" + hex.EncodeToString(random)
	out, err := b.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: aws.String(b.machine), Name: aws.String(id),
		Input: aws.String(string(manual(t, mode, id)))})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.ExecutionArn)
}

// wantOrders fails the test unless every server has all its orders.
func (b *bed) wantOrders(t *testing.T) {
	t.Helper()
	got, err := sample.Counts(t.Context(), b.options.Kubeconfig, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sample.Replicas {
		if got[sample.Pod(i)] != sample.Orders {
			t.Errorf("orders %v, want %d in each", got, sample.Orders)
		}
	}
}

// clean does what a person does after Dirty: takes away what is left, and frees the lease.
func (b *bed) clean(t *testing.T, runID string) {
	t.Helper()
	for _, r := range b.remnants(t, runID) {
		if err := b.client.Dynamic.Resource(r.gvr).Namespace(r.GetNamespace()).Delete(t.Context(), r.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	for _, u := range b.list(t, cluster.Leases, "fallback-chain", "") {
		if holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity"); holder == runID {
			if _, err := b.client.Dynamic.Resource(cluster.Leases).Namespace(u.GetNamespace()).Patch(t.Context(), u.GetName(), types.MergePatchType,
				[]byte(`{"spec":{"holderIdentity":""}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
