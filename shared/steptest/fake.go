package steptest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
)

// served are the kinds of the fake cluster; cluster-scoped ones have no namespace.
var served = []struct {
	group, version, kind, resource string
	namespaced                     bool
}{
	{"", "v1", "Namespace", "namespaces", false}, {"", "v1", "Node", "nodes", false}, {"", "v1", "PersistentVolume", "persistentvolumes", false},
	{"", "v1", "Pod", "pods", true}, {"", "v1", "Event", "events", true}, {"", "v1", "Secret", "secrets", true}, {"", "v1", "ConfigMap", "configmaps", true},
	{"", "v1", "Service", "services", true}, {"", "v1", "ServiceAccount", "serviceaccounts", true}, {"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true},
	{"apps", "v1", "StatefulSet", "statefulsets", true}, {"apps", "v1", "Deployment", "deployments", true},
	{"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true},
	{"batch", "v1", "CronJob", "cronjobs", true},
	{"networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true},
	{"rbac.authorization.k8s.io", "v1", "Role", "roles", true}, {"rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true},
	{"storage.k8s.io", "v1", "StorageClass", "storageclasses", false}, {"storage.k8s.io", "v1", "CSIDriver", "csidrivers", false},
	{"storage.k8s.io", "v1", "CSINode", "csinodes", false}, {"storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false},
	{"snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "volumesnapshots", true},
	{"snapshot.storage.k8s.io", "v1", "VolumeSnapshotContent", "volumesnapshotcontents", false},
	{"snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass", "volumesnapshotclasses", false},
	{"", "v1", "ResourceQuota", "resourcequotas", true}, {"", "v1", "LimitRange", "limitranges", true},
	{"scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false},
	{"velero.io", "v1", "Backup", "backups", true}, {"velero.io", "v1", "BackupStorageLocation", "backupstoragelocations", true},
	{"velero.io", "v1", "Restore", "restores", true}, {"velero.io", "v1", "PodVolumeRestore", "podvolumerestores", true}, {"velero.io", "v2alpha1", "DataDownload", "datadownloads", true},
	{"policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies", false}, {"cilium.io", "v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies", true},
	{"argoproj.io", "v1alpha1", "Application", "applications", true},
}

func resources() (map[schema.GroupVersionResource]string, mapper) {
	kinds := map[schema.GroupVersionResource]string{}
	var versions []schema.GroupVersion
	for _, s := range served {
		versions = append(versions, schema.GroupVersion{Group: s.group, Version: s.version})
	}
	m := meta.NewDefaultRESTMapper(versions)
	for _, s := range served {
		gv := schema.GroupVersion{Group: s.group, Version: s.version}
		kinds[gv.WithResource(s.resource)] = s.kind + "List"
		scope := meta.RESTScope(meta.RESTScopeRoot)
		if s.namespaced {
			scope = meta.RESTScopeNamespace
		}
		m.AddSpecific(gv.WithKind(s.kind), gv.WithResource(s.resource), gv.WithResource(strings.ToLower(s.kind)), scope)
	}
	return kinds, mapper{m}
}

func (w *World) nextUID() types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uid++
	return types.UID(fmt.Sprintf("uid-%d", w.uid))
}

// react gives the fake what the real API server has: UIDs and resource versions, dry runs that change nothing, and patches whose
// UID is a precondition.
func (w *World) react() {
	version := 0
	stamp := func(u *unstructured.Unstructured) {
		version++
		u.SetResourceVersion(strconv.Itoa(version))
	}
	w.Fake.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u, ok := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if isDryRun(a) {
			if _, err := w.Fake.Tracker().Get(a.GetResource(), a.GetNamespace(), u.GetName()); err == nil {
				return true, nil, apierrors.NewAlreadyExists(a.GetResource().GroupResource(), u.GetName())
			}
			return true, u, nil
		}
		if ok && u.GetUID() == "" {
			u.SetUID(w.nextUID())
		}
		if ok {
			stamp(u)
		}
		return false, nil, nil
	})
	w.Fake.PrependReactor("delete", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		d := a.(clienttesting.DeleteActionImpl)
		p := d.DeleteOptions.Preconditions
		if p == nil || p.UID == nil {
			return false, nil, nil
		}
		have, err := w.Fake.Tracker().Get(a.GetResource(), a.GetNamespace(), d.Name)
		if err == nil && have.(*unstructured.Unstructured).GetUID() != *p.UID {
			return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), d.Name, fmt.Errorf("the UID in the precondition is another"))
		}
		return false, nil, nil
	})
	w.Fake.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		p := a.(clienttesting.PatchActionImpl)
		if p.GetPatchType() != types.MergePatchType {
			return true, nil, apierrors.NewBadRequest("the fake knows merge patches only")
		}
		have, err := w.Fake.Tracker().Get(a.GetResource(), a.GetNamespace(), p.GetName())
		if err != nil {
			return true, nil, err
		}
		u := have.DeepCopyObject().(*unstructured.Unstructured)
		var patch map[string]any
		if err := json.Unmarshal(p.GetPatch(), &patch); err != nil {
			return true, nil, apierrors.NewBadRequest(err.Error())
		}
		if uid, ok, _ := unstructured.NestedString(patch, "metadata", "uid"); ok && uid != string(u.GetUID()) {
			return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), p.GetName(), fmt.Errorf("the UID is another"))
		}
		merge(u.Object, patch)
		b, err := u.MarshalJSON() // numbers become what the real client decodes
		if err == nil {
			err = u.UnmarshalJSON(b)
		}
		if err != nil || isDryRun(a) {
			return true, u, err
		}
		stamp(u)
		return true, u, w.Fake.Tracker().Update(a.GetResource(), u, a.GetNamespace())
	})
}

func merge(m, patch map[string]any) {
	for k, v := range patch {
		if v == nil {
			delete(m, k)
			continue
		}
		if pm, ok := v.(map[string]any); ok {
			next, ok := m[k].(map[string]any)
			if !ok {
				next = map[string]any{}
				m[k] = next
			}
			merge(next, pm)
			continue
		}
		m[k] = v
	}
}

func isDryRun(a clienttesting.Action) bool {
	switch a := a.(type) {
	case clienttesting.PatchActionImpl:
		return len(a.PatchOptions.DryRun) > 0
	case clienttesting.CreateActionImpl:
		return len(a.CreateOptions.DryRun) > 0
	}
	return false
}

func target(a clienttesting.Action) string {
	name := ""
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		if o, err := meta.Accessor(a.Object); err == nil {
			name = o.GetName()
		}
	case clienttesting.UpdateActionImpl:
		if o, err := meta.Accessor(a.Object); err == nil {
			name = o.GetName()
		}
	case clienttesting.PatchActionImpl:
		name = a.Name
	case clienttesting.DeleteActionImpl:
		name = a.Name
	}
	if a.GetNamespace() == "" {
		return name
	}
	return a.GetNamespace() + "/" + name
}
