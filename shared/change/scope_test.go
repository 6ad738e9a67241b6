package change

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
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
