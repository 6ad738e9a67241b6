package backups

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
)

// claimAsSource is on a claim while a snapshot is taken of it, and for a while after
// (https://github.com/kubernetes-csi/external-snapshotter/blob/v8.6.0/pkg/utils/util.go).
const claimAsSource = "snapshot.storage.kubernetes.io/pvc-as-source-protection"

// settle waits until the controllers have done what follows a backup or a restore in the namespace: Velero has removed the snapshots it made
// there, and no claim is marked as the source of one any more. Their contents are not waited for: those of a backup that failed stay.
func (w *world) settle(t *testing.T, namespace string) {
	t.Helper()
	ctx := bounded(t)
	lacks := ""
	ok, err := w.Client.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.VolumeSnapshots, Namespace: namespace},
		{GVR: cluster.PersistentVolumeClaims, Namespace: namespace}}, func(ctx context.Context) (bool, error) {
		lacks = ""
		for gvr, busy := range map[schema.GroupVersionResource]func(*unstructured.Unstructured) bool{
			cluster.VolumeSnapshots:        ofBackup,
			cluster.PersistentVolumeClaims: func(u *unstructured.Unstructured) bool { return slices.Contains(u.GetFinalizers(), claimAsSource) },
		} {
			l, err := w.Client.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			for _, u := range l.Items {
				if u.GetDeletionTimestamp() != nil || busy(&u) {
					lacks += " " + gvr.Resource + "/" + u.GetName()
				}
			}
		}
		return lacks == "", nil
	})
	if !ok || err != nil {
		t.Fatalf("wait until nothing is going on in %s:%s: %v", namespace, lacks, errors.Join(err, ctx.Err()))
	}
}

// ofBackup tells whether a VolumeSnapshot was made by Velero for a backup
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/backup/actions/csi/pvc_action.go).
func ofBackup(u *unstructured.Unstructured) bool { return strings.HasPrefix(u.GetName(), "velero-") }

// hold makes the API server wait with the creation of a drill's StatefulSet: held is closed when one is waited with, release lets it go
// and ends the waiting. Velero creates the claims before it.
func (w *world) hold(t *testing.T) (held <-chan struct{}, release func()) {
	t.Helper()
	came, asked, free := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var toHold, toAsk sync.Once
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(rw, "expected an AdmissionReview", http.StatusBadRequest)
			return
		}
		q := review.Request
		toAsk.Do(func() { close(asked) })
		if strings.HasPrefix(q.Namespace, "drill-") && (q.DryRun == nil || !*q.DryRun) {
			toHold.Do(func() { close(came) })
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}
		review.Response = &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(review)
	}))
	const name = "hold.fallbackchain.io"
	hooks := w.Client.Dynamic.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"})
	release = once(t, func() error {
		close(free)
		err := hooks.Delete(bounded(t), name, metav1.DeleteOptions{})
		s.Close()
		return err
	})
	hook := map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": map[string]any{"name": name},
		"webhooks": []any{map[string]any{"name": name, "admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "failurePolicy": "Ignore", "timeoutSeconds": int64(30),
			"clientConfig": map[string]any{"url": s.URL, "caBundle": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})},
			"rules":        []any{map[string]any{"apiGroups": []any{"apps"}, "apiVersions": []any{"v1"}, "resources": []any{"statefulsets"}, "operations": []any{"CREATE"}}}}}}
	body, err := json.Marshal(hook)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil {
		t.Fatal(err)
	}
	if _, err := hooks.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.obeyed(t, asked)
	return came, release
}

// obeyed waits until the API server asks the webhook: it learns of a new one a little later.
func (w *world) obeyed(t *testing.T, asked <-chan struct{}) {
	t.Helper()
	labels := map[string]any{"app": "probe"}
	probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": map[string]any{"name": "probe", "namespace": "default"},
		"spec": map[string]any{"serviceName": "probe", "selector": map[string]any{"matchLabels": labels}, "template": map[string]any{"metadata": map[string]any{"labels": labels},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "probe", "image": "probe"}}}}}}}
	ctx := bounded(t)
	ok, err := w.Client.WaitFor(ctx, 200*time.Millisecond, nil, func(ctx context.Context) (bool, error) {
		_, err := w.Client.Dynamic.Resource(cluster.StatefulSets).Namespace("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		select {
		case <-asked:
			return true, err
		default:
			return false, err
		}
	})
	if !ok || err != nil {
		t.Fatalf("the webhook is not asked: %v", errors.Join(err, ctx.Err()))
	}
}
