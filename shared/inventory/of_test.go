package inventory_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/signal"
)

func memoryObject(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// TestBundleInMemory: identity, age and version are judged as those of a bundle in files, and its objects are given as copies.
func TestBundleInMemory(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	manifest := inventory.Manifest{Namespace: "shop", StatefulSet: "db", ClusterUID: "u", KubernetesVersion: "v1.36.3", CapturedAt: now.Add(-time.Hour),
		Snapshots: []inventory.Snapshot{{Claim: "data-db-0", Driver: "d", Handle: "h", TakenAt: now}}}
	objects := []*unstructured.Unstructured{memoryObject("apps/v1", "StatefulSet", "shop", "db"), memoryObject("v1", "Namespace", "", "shop")}
	target := inventory.Target{ClusterUID: "u", KubernetesVersion: "v1.36.3", Namespace: "shop", StatefulSet: "db"}
	for name, c := range map[string]struct {
		manifest func(*inventory.Manifest)
		target   func(*inventory.Target)
		status   signal.Status
		reason   string
	}{
		"good":             {status: signal.True, reason: inventory.ReasonVerified},
		"one minor up":     {target: func(t *inventory.Target) { t.KubernetesVersion = "v1.37.0" }, status: signal.True, reason: inventory.ReasonNewerKubernetes},
		"lower target":     {target: func(t *inventory.Target) { t.KubernetesVersion = "v1.35.0" }, status: signal.False, reason: inventory.ReasonKubernetesMismatch},
		"another cluster":  {target: func(t *inventory.Target) { t.ClusterUID = "other" }, status: signal.False, reason: inventory.ReasonOtherCluster},
		"unknown target":   {target: func(t *inventory.Target) { t.ClusterUID = "" }, status: signal.Unknown, reason: inventory.ReasonTargetUnknown},
		"unknown source":   {manifest: func(m *inventory.Manifest) { m.ClusterUID = "" }, status: signal.Unknown, reason: inventory.ReasonSourceUnknown},
		"unknown version":  {manifest: func(m *inventory.Manifest) { m.KubernetesVersion = "" }, status: signal.Unknown, reason: inventory.ReasonSourceUnknown},
		"too old":          {manifest: func(m *inventory.Manifest) { m.CapturedAt = now.Add(-48 * time.Hour) }, status: signal.False, reason: inventory.ReasonTooOld},
		"another workload": {target: func(t *inventory.Target) { t.StatefulSet = "web" }, status: signal.False, reason: inventory.ReasonOtherWorkload},
	} {
		t.Run(name, func(t *testing.T) {
			m, to := manifest, target
			if c.manifest != nil {
				c.manifest(&m)
			}
			if c.target != nil {
				c.target(&to)
			}
			b, err := inventory.Of(m, "sha256:x", objects)
			if err != nil {
				t.Fatal(err)
			}
			r := b.Verify(t.Context(), now, to, 24*time.Hour)
			if r.Status != c.status || r.Reason != c.reason || strings.Contains(r.Message, inventory.ManifestFile) || strings.Contains(r.Message, "digest") {
				t.Errorf("%+v", r)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	b, err := inventory.Of(manifest, "sha256:x", objects)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, findings := b.Objects(t.Context())
		if len(findings) > 0 || len(got) != 2 || got[0].GetKind() != "Namespace" || got[1].GetName() != "db" {
			t.Fatalf("%v %v", got, findings)
		}
		got[1].SetName("changed")
	}
	if s, ok := b.SnapshotFor("data-db-0"); !ok || s.Handle != "h" || b.Len() != 2 || b.Digest != "sha256:x" {
		t.Errorf("%+v", b)
	}
}

func TestBundleInMemoryRefuses(t *testing.T) {
	good := inventory.Manifest{Namespace: "shop", StatefulSet: "db"}
	o := memoryObject("v1", "Secret", "shop", "s")
	for name, c := range map[string]struct {
		m       inventory.Manifest
		objects []*unstructured.Unstructured
		want    string
	}{
		"no workload":           {inventory.Manifest{}, nil, "expected the workload's"},
		"an object twice":       {good, []*unstructured.Unstructured{o, o}, "holds Secret shop/s twice"},
		"a snapshot of nothing": {inventory.Manifest{Namespace: "shop", StatefulSet: "db", Snapshots: []inventory.Snapshot{{Claim: "c"}}}, nil, "lacks its claim, driver, handle"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := inventory.Of(c.m, "d", c.objects); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
}

func TestCaptureRules(t *testing.T) {
	if inventory.Captured(schema.GroupResource{Resource: "pods"}) || !inventory.Captured(schema.GroupResource{Group: "apps", Resource: "deployments"}) {
		t.Error("pods are captured, or Deployments are not")
	}
	if !inventory.Wanted(memoryObject("v1", "Secret", "shop", "s"), "db") || inventory.Wanted(memoryObject("v1", "ServiceAccount", "shop", "default"), "db") {
		t.Error("a Secret is not wanted, or the default ServiceAccount is")
	}
}
