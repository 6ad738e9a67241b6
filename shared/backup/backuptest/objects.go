package backuptest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

type entry struct {
	path string
	data []byte
}

type objects struct {
	entries []entry
	list    map[string][]string
}

// add puts an object in as Velero does: without a version and below the preferred one, and into the resource list.
func (o *objects) add(resource string, data []byte, listed bool) {
	o.put(resource, data, listed, "", "-preferredversion/")
}

// put puts an object in below the versions of these endings; "" is without a version.
func (o *objects) put(resource string, data []byte, listed bool, endings ...string) {
	var h struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct{ Name, Namespace string }
	}
	_ = json.Unmarshal(data, &h) // what tests build
	dir, name := "cluster/", h.Metadata.Name
	if ns := h.Metadata.Namespace; ns != "" {
		dir, name = "namespaces/"+ns+"/", ns+"/"+name
	}
	version := h.APIVersion[strings.IndexByte(h.APIVersion, '/')+1:]
	for _, v := range endings {
		if v != "" {
			v = version + v
		}
		o.entries = append(o.entries, entry{"resources/" + resource + "/" + v + dir + h.Metadata.Name + ".json", data})
	}
	if listed {
		kind := h.APIVersion + "/" + h.Kind
		o.list[kind] = append(o.list[kind], name)
	}
}

func meta(namespace, name string, more map[string]any) map[string]any {
	m := map[string]any{"name": name, "uid": "uid-" + name, "resourceVersion": "1", "creationTimestamp": "2026-08-01T00:00:00Z"}
	if namespace != "" {
		m["namespace"] = namespace
	}
	for k, v := range more {
		m[k] = v
	}
	return m
}

func owned(kind, name string) map[string]any {
	return map[string]any{"ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "uid-" + name, "controller": true}}}
}

func (s Spec) claim(i int) string { return fmt.Sprintf("data-%s-%d", s.StatefulSet, i) }

func (s Spec) objects() objects {
	o := objects{list: map[string][]string{}}
	add := func(resource, apiVersion, kind, namespace, name string, more map[string]any, rest map[string]any) {
		doc := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta(namespace, name, more)}
		for k, v := range rest {
			doc[k] = v
		}
		o.add(resource, encode(doc), true)
	}
	ns, sts := s.Namespace, s.StatefulSet
	add("namespaces", "v1", "Namespace", "", ns, nil, map[string]any{"spec": map[string]any{"finalizers": []any{"kubernetes"}}})
	add("storageclasses.storage.k8s.io", "storage.k8s.io/v1", "StorageClass", "", "fast", nil, map[string]any{"provisioner": "csi.example.com"})
	add("storageclasses.storage.k8s.io", "storage.k8s.io/v1", "StorageClass", "", "unused", nil, map[string]any{"provisioner": "other.example.com"})
	template := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": sts}}, "spec": map[string]any{"containers": []any{map[string]any{"name": "db", "image": "postgres"}}}}
	add("statefulsets.apps", "apps/v1", "StatefulSet", ns, sts, nil, map[string]any{"spec": map[string]any{"replicas": s.Claims, "serviceName": sts,
		"selector": map[string]any{"matchLabels": map[string]any{"app": sts}}, "template": template,
		"volumeClaimTemplates": []any{map[string]any{"metadata": map[string]any{"name": "data"}, "spec": map[string]any{"storageClassName": "fast"}}}}})
	add("services", "v1", "Service", ns, sts, nil, map[string]any{"spec": map[string]any{"clusterIP": "None", "selector": map[string]any{"app": sts}}})
	add("secrets", "v1", "Secret", ns, "credentials", nil, map[string]any{"type": "Opaque", "data": map[string]any{"password": "c2VjcmV0"}})
	add("configmaps", "v1", "ConfigMap", ns, "kube-root-ca.crt", nil, map[string]any{"data": map[string]any{"ca.crt": "x"}})
	add("controllerrevisions.apps", "apps/v1", "ControllerRevision", ns, sts+"-1", owned("StatefulSet", sts), map[string]any{"revision": 1})
	add("replicasets.apps", "apps/v1", "ReplicaSet", ns, "web-1", owned("Deployment", "web"), nil)
	add("events", "v1", "Event", ns, sts+".1", nil, map[string]any{"message": "something happened"})
	add("endpointslices.discovery.k8s.io", "discovery.k8s.io/v1", "EndpointSlice", ns, sts+"-1", owned("Service", sts), nil)
	for i := range s.Claims {
		s.volume(add, i)
	}
	for i := range s.ConfigMaps {
		add("configmaps", "v1", "ConfigMap", ns, fmt.Sprintf("settings-%05d", i), nil, map[string]any{"data": map[string]any{"text": strings.Repeat("x", max(1, s.Bytes))}})
	}
	for _, resource := range sortedKeys(s.More) {
		for _, doc := range s.More[resource] {
			o.add(resource, []byte(doc), true)
		}
	}
	if s.Moved {
		for i := range s.Claims {
			// What Velero adds when it finalizes comes in any order.
			o.put("datauploads.velero.io", encode(map[string]any{"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload", "metadata": meta("velero", fmt.Sprintf("%s-%d", s.Name, i), nil)}), false, "-preferredversion/")
		}
		for i := range s.Claims {
			o.put("datauploads.velero.io", encode(map[string]any{"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload", "metadata": meta("velero", fmt.Sprintf("%s-%d", s.Name, i), nil)}), false, "")
		}
	}
	for _, resource := range sortedKeys(s.Versions) {
		for _, doc := range s.Versions[resource] {
			o.put(resource, []byte(doc), true, "/")
		}
	}
	for _, names := range o.list {
		slices.Sort(names)
	}
	return o
}

func (s Spec) volume(add func(resource, apiVersion, kind, namespace, name string, more, rest map[string]any), i int) {
	ns, claim, pv := s.Namespace, s.claim(i), fmt.Sprintf("pvc-%s-%d", s.StatefulSet, i)
	add("pods", "v1", "Pod", ns, fmt.Sprintf("%s-%d", s.StatefulSet, i), owned("StatefulSet", s.StatefulSet), map[string]any{"spec": map[string]any{"nodeName": "node-1"}})
	add("persistentvolumeclaims", "v1", "PersistentVolumeClaim", ns, claim, nil, map[string]any{
		"spec": map[string]any{"storageClassName": "fast", "volumeName": pv, "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}}, "status": map[string]any{"phase": "Bound"}})
	add("persistentvolumes", "v1", "PersistentVolume", "", pv, nil, map[string]any{"spec": map[string]any{"claimRef": map[string]any{"namespace": ns, "name": claim}, "storageClassName": "fast"}})
}

func (s Spec) backup(o objects) map[string]any {
	labels := map[string]any{"velero.io/storage-location": "default", "fallbackchain.io/cluster": s.ClusterUID}
	if s.ClusterUID == "-" {
		delete(labels, "fallbackchain.io/cluster")
	}
	if s.Schedule != "" {
		labels["velero.io/schedule-name"] = s.Schedule
	}
	n := 0
	for _, names := range o.list {
		n += len(names)
	}
	return map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup",
		"metadata": map[string]any{"name": s.Name, "namespace": "velero", "labels": labels, "annotations": map[string]any{"velero.io/source-cluster-k8s-gitversion": s.Kubernetes}},
		"spec":     map[string]any{"includedNamespaces": s.Included, "excludedNamespaces": s.Excluded, "storageLocation": "default"},
		"status": map[string]any{"phase": s.Phase, "version": 1, "formatVersion": "1.1.0", "startTimestamp": stamp(s.Started), "completionTimestamp": stamp(s.Completed),
			"expiration": stamp(s.Started.Add(720 * time.Hour)), "progress": map[string]any{"totalItems": n, "itemsBackedUp": n}}}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (s Spec) operations() []any {
	out := []any{}
	for i := range s.Claims {
		spec := map[string]any{"backupName": s.Name, "operationID": fmt.Sprintf("op-%d", i), "backupItemAction": "velero.io/csi-volumesnapshot-backupper",
			"resourceIdentifier": map[string]any{"Group": "snapshot.storage.k8s.io", "Resource": "volumesnapshots", "Namespace": s.Namespace, "Name": fmt.Sprintf("velero-%d", i)}, "postOperationItems": nil}
		if s.Moved {
			spec["postOperationItems"] = []any{map[string]any{"Group": "velero.io", "Resource": "datauploads", "Namespace": "velero", "Name": fmt.Sprintf("%s-%d", s.Name, i)}}
		}
		out = append(out, map[string]any{"spec": spec, "status": map[string]any{"phase": "Completed", "created": stamp(s.Started)}})
	}
	return out
}

func (s Spec) volumeInfos() []any {
	out := []any{}
	for i := range s.Claims {
		info := map[string]any{"pvcName": s.claim(i), "pvcNamespace": s.Namespace, "pvName": fmt.Sprintf("pvc-%s-%d", s.StatefulSet, i),
			"backupMethod": "CSISnapshot", "snapshotDataMoved": s.Moved, "preserveLocalSnapshot": !s.Moved, "skipped": false,
			"startTimestamp": stamp(s.Started.Add(2 * time.Second)), "completionTimestamp": stamp(s.Completed), "result": "succeeded",
			"csiSnapshotInfo": map[string]any{"snapshotHandle": fmt.Sprintf("snap-%s-%d", s.Name, i), "size": 1 << 30, "driver": "csi.example.com", "vscName": fmt.Sprintf("snapcontent-%d", i),
				"operationID": fmt.Sprintf("op-%d", i), "ReadyToUse": true},
			"pvInfo": map[string]any{"reclaimPolicy": "Delete", "labels": map[string]any{}}}
		if s.Moved {
			info["csiSnapshotInfo"] = map[string]any{"snapshotHandle": "unknown", "size": 0, "driver": "csi.example.com", "vscName": "unknown", "operationID": "unknown", "ReadyToUse": nil}
			info["snapshotDataMovementInfo"] = map[string]any{"dataMover": "velero", "uploaderType": "kopia", "snapshotHandle": fmt.Sprintf("k%d", i), "operationID": "du", "size": 1 << 30, "Phase": "Completed"}
		}
		out = append(out, info)
	}
	return out
}

func (s Spec) snapshots() []any {
	out := []any{}
	for i := range s.Claims {
		out = append(out, map[string]any{"metadata": map[string]any{"name": fmt.Sprintf("velero-%d", i), "namespace": s.Namespace}, "status": map[string]any{"readyToUse": true}})
	}
	return out
}
