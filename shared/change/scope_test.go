package change

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

func TestScope(t *testing.T) {
	const id = "shop-drill-20261121010203-abcd"
	drill := Scope{Drill: true, Namespace: "drill-" + id, Run: id, Extra: []string{"kube-system"}}
	recover := Scope{Namespace: "shop", Run: id, Extra: []string{"kube-system"}}
	mine := map[string]string{LabelRun: id}
	other := map[string]string{LabelRun: "another"}
	nodes := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

	for name, tc := range map[string]struct {
		scope      Scope
		ref        Ref
		have, want map[string]string
		code       fault.Code
	}{
		"drill: in its own namespace":                     {drill, Ref{GVR: cluster.Pods, Namespace: "drill-" + id, Name: "x"}, nil, nil, ""},
		"drill: in production":                            {drill, Ref{GVR: cluster.Pods, Namespace: "shop", Name: "x"}, nil, mine, fault.ProductionTouched},
		"drill: extra namespaces do not count":            {drill, Ref{GVR: cluster.Deployments, Namespace: "kube-system", Name: "x"}, nil, mine, fault.ProductionTouched},
		"drill: another drill's namespace":                {drill, Ref{GVR: cluster.Pods, Namespace: "drill-other", Name: "x"}, nil, mine, fault.ProductionTouched},
		"drill: creates its namespace":                    {drill, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, nil, mine, ""},
		"drill: creates a namespace without its label":    {drill, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, nil, nil, fault.ProductionTouched},
		"drill: a namespace without its name":             {drill, Ref{GVR: cluster.Namespaces, Name: "shop"}, nil, mine, fault.ProductionTouched},
		"drill: deletes production's namespace":           {drill, Ref{GVR: cluster.Namespaces, Name: "shop"}, map[string]string{}, mine, fault.ProductionTouched},
		"drill: takes over somebody's object of its name": {drill, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, other, mine, fault.ProductionTouched},
		"drill: an unlabelled object that exists":         {drill, Ref{GVR: cluster.VolumeSnapshotContents, Name: "c-" + id}, map[string]string{}, mine, fault.ProductionTouched},
		"drill: its snapshot content":                     {drill, Ref{GVR: cluster.VolumeSnapshotContents, Name: "c-" + id}, mine, mine, ""},
		"drill: a persistent volume":                      {drill, Ref{GVR: cluster.PersistentVolumes, Name: "pv-" + id}, mine, mine, fault.ProductionTouched},
		"drill: a storage class of its own":               {drill, Ref{GVR: cluster.StorageClasses, Name: "gp3-" + id}, nil, mine, ""},
		"drill: a storage class of production":            {drill, Ref{GVR: cluster.StorageClasses, Name: "gp3"}, map[string]string{}, mine, fault.ProductionTouched},
		"drill: a storage class with only its name":       {drill, Ref{GVR: cluster.StorageClasses, Name: "gp3-" + id}, nil, nil, fault.ProductionTouched},
		"recover: in the workload's namespace":            {recover, Ref{GVR: cluster.Pods, Namespace: "shop", Name: "x"}, nil, nil, ""},
		"recover: in the CSI controller's namespace":      {recover, Ref{GVR: cluster.Deployments, Namespace: "kube-system", Name: "x"}, nil, nil, ""},
		"recover: somewhere else":                         {recover, Ref{GVR: cluster.Pods, Namespace: "default", Name: "x"}, nil, nil, fault.PermissionDenied},
		"recover: an attachment":                          {recover, Ref{GVR: cluster.VolumeAttachments, Name: "csi-1"}, map[string]string{}, nil, ""},
		"recover: the workload's namespace itself":        {recover, Ref{GVR: cluster.Namespaces, Name: "shop"}, nil, nil, ""},
		"recover: another namespace":                      {recover, Ref{GVR: cluster.Namespaces, Name: "default"}, nil, nil, fault.PermissionDenied},
		"recover: a node is never changed":                {recover, Ref{GVR: nodes, Name: "n"}, map[string]string{}, nil, fault.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.scope.Allows(tc.ref, tc.have, tc.want)
			var got fault.Code
			if err != nil {
				got = fault.From(err).Code
			}
			if got != tc.code {
				t.Errorf("got %q (%v), want %q", got, err, tc.code)
			}
		})
	}
}

// In Velero's namespace a drill has its Restore and its ConfigMap, and nothing else.
func TestScopeOfVelero(t *testing.T) {
	const id = "shop-drill-20261121010203-abcd"
	scope := Scope{Drill: true, Namespace: "drill-" + id, Run: id, Velero: "velero"}
	restores := schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: "restores"}
	backups := schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: "backups"}
	mine, other := map[string]string{LabelRun: id}, map[string]string{LabelRun: "another"}
	recover, without, remade := scope, scope, scope
	recover.Drill, without.Velero, remade.Remade = false, "", true
	for name, tc := range map[string]struct {
		scope      Scope
		ref        Ref
		have, want map[string]string
		ok         bool
	}{
		"its Restore":                              {scope, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, nil, mine, true},
		"its Restore that exists":                  {scope, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, mine, mine, true},
		"its ConfigMap":                            {scope, Ref{GVR: cluster.ConfigMaps, Namespace: "velero", Name: "drill-" + id}, nil, mine, true},
		"a Restore without its label":              {scope, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, nil, nil, false},
		"a Restore without its name":               {scope, Ref{GVR: restores, Namespace: "velero", Name: "nightly"}, nil, mine, false},
		"somebody's Restore of its name":           {scope, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, map[string]string{}, mine, false},
		"another drill's ConfigMap":                {scope, Ref{GVR: cluster.ConfigMaps, Namespace: "velero", Name: "drill-" + id}, other, mine, false},
		"a Secret":                                 {scope, Ref{GVR: cluster.Secrets, Namespace: "velero", Name: "drill-" + id}, nil, mine, false},
		"a Backup":                                 {scope, Ref{GVR: backups, Namespace: "velero", Name: "drill-" + id}, nil, mine, false},
		"a Deployment":                             {scope, Ref{GVR: cluster.Deployments, Namespace: "velero", Name: "velero-" + id}, mine, mine, false},
		"a Restore in another namespace":           {scope, Ref{GVR: restores, Namespace: "shop", Name: "drill-" + id}, nil, mine, false},
		"a Restore where no Velero restores":       {without, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, nil, mine, false},
		"a recover":                                {recover, Ref{GVR: restores, Namespace: "velero", Name: "drill-" + id}, nil, mine, false},
		"its namespace, made again without label":  {remade, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, map[string]string{"app": "shop"}, map[string]string{"app": "shop"}, true},
		"the same when nothing was made again":     {scope, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, map[string]string{"app": "shop"}, map[string]string{"app": "shop"}, false},
		"production's namespace, made again":       {remade, Ref{GVR: cluster.Namespaces, Name: "shop"}, map[string]string{}, map[string]string{}, false},
		"its namespace with another drill's label": {remade, Ref{GVR: cluster.Namespaces, Name: "drill-" + id}, other, other, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.scope.Allows(tc.ref, tc.have, tc.want); (err == nil) != tc.ok {
				t.Errorf("%v, allowed: %v expected", err, tc.ok)
			}
		})
	}
}

// What Velero and the driver made for the drill carries no run ID in its name: only one patch of each, and a deletion that keeps the
// snapshot, are allowed.
func TestScopeOfWhatOthersMade(t *testing.T) {
	const id, ns = "shop-drill-20261121010203-abcd", "drill-shop-drill-20261121010203-abcd"
	scope := Scope{Drill: true, Namespace: ns, Run: id, Velero: "velero"}
	content := func(label, namespace, policy string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "5e884898", "labels": map[string]any{"velero.io/restore-name": label}},
			"spec": map[string]any{"deletionPolicy": policy, "volumeSnapshotRef": map[string]any{"namespace": namespace}}}}
	}
	volume := func(name, namespace, uid string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name},
			"spec": map[string]any{"claimRef": map[string]any{"namespace": namespace, "uid": uid}}}}
	}
	recover := scope
	recover.Drill = false
	for name, tc := range map[string]struct {
		gvr   schema.GroupVersionResource
		have  *unstructured.Unstructured
		patch string // empty: a deletion
		ok    bool
	}{
		"keep the snapshot":                     {cluster.VolumeSnapshotContents, content(ns, ns, "Delete"), KeepSnapshot, true},
		"delete what keeps it":                  {cluster.VolumeSnapshotContents, content(ns, ns, "Retain"), "", true},
		"delete what takes it along":            {cluster.VolumeSnapshotContents, content(ns, ns, "Delete"), "", false},
		"delete one without a policy":           {cluster.VolumeSnapshotContents, content(ns, ns, ""), "", false},
		"another patch":                         {cluster.VolumeSnapshotContents, content(ns, ns, "Retain"), `{"spec":{"deletionPolicy":"Delete"}}`, false},
		"more than the patch":                   {cluster.VolumeSnapshotContents, content(ns, ns, "Delete"), `{"metadata":{"labels":null},"spec":{"deletionPolicy":"Retain"}}`, false},
		"another restore's":                     {cluster.VolumeSnapshotContents, content("nightly", ns, "Retain"), "", false},
		"of a snapshot of production":           {cluster.VolumeSnapshotContents, content(ns, "shop", "Retain"), "", false},
		"let its volume go":                     {cluster.PersistentVolumes, volume("pvc-u1", ns, "u1"), DropVolume, true},
		"delete its volume":                     {cluster.PersistentVolumes, volume("pvc-u1", ns, "u1"), "", false},
		"patch its volume otherwise":            {cluster.PersistentVolumes, volume("pvc-u1", ns, "u1"), `{"spec":{"claimRef":null}}`, false},
		"production's volume":                   {cluster.PersistentVolumes, volume("pvc-u1", "shop", "u1"), DropVolume, false},
		"a copy of production's volume object":  {cluster.PersistentVolumes, volume("velero-clone-7", ns, "u1"), DropVolume, false},
		"a volume that is reserved but unbound": {cluster.PersistentVolumes, volume("pvc-u1", ns, ""), DropVolume, false},
	} {
		t.Run(name, func(t *testing.T) {
			verb, patch := journal.Delete, []byte(nil)
			if tc.patch != "" {
				verb, patch = journal.Patch, []byte(tc.patch)
			}
			ref := Ref{GVR: tc.gvr, Name: tc.have.GetName()}
			if err := scope.allowed(verb, ref, tc.have, patch); (err == nil) != tc.ok {
				t.Errorf("%v, allowed: %v expected", err, tc.ok)
			}
			if known, _ := recover.restored(verb, ref, tc.have, patch); known {
				t.Error("a recover has no such rule")
			}
		})
	}
}
