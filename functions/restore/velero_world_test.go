package restore_test

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/mergepatch"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const (
	veleroBackup = "apiVersion: velero.io/v1\nkind: Backup\nmetadata: {name: b1, namespace: velero}\nspec: {storageLocation: default}\nstatus: {phase: Completed}"
	location     = "apiVersion: velero.io/v1\nkind: BackupStorageLocation\nmetadata: {name: default, namespace: velero}\nspec: {provider: aws, objectStorage: {bucket: backups, prefix: eu}}\nstatus: {phase: Available}"
	fastVelero   = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: csi.example.com\nreclaimPolicy: Retain"
)

// veleroWorld is a drill whose backup was verified.
func veleroWorld(t *testing.T, spec backuptest.Spec) (*steptest.World, *backuptest.Store) {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "db"}}}
	p.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(24 * time.Hour), Velero: &plan.Velero{Location: "s3://backups/eu", Namespace: "velero", StorageLocation: "default"}}
	p.Spec.Quarantine.Level = plan.LevelApplied
	w := steptest.New(t, run.Drill, p, veleroBackup, location, fastVelero)
	spec.ClusterUID, spec.Kubernetes = steptest.ClusterUID, steptest.Kubernetes
	spec.Started = steptest.Start.Add(-time.Hour)
	store := backuptest.NewStore(spec)
	w.Env.Backups = func(context.Context, *plan.Plan) (backup.Store, error) { return store, nil }
	v, err := backup.Verify(t.Context(), store, "b1", backup.Expectation{Namespace: "shop", StatefulSet: "db", Now: steptest.Start})
	if err != nil {
		t.Fatal(err)
	}
	w.Run.Backup = &run.Backup{Phase: run.Verified, Name: "b1", Listing: v.Listing, Location: p.Spec.Inventory.Velero.Location}
	w.Run.Quarantine = &run.Quarantine{Phase: run.Verified, Namespace: "drill-" + w.Run.ID, Wanted: "Applied", Level: "Applied"}
	return w, store
}

// production is a namespace with something of everything that must not come back as it is.
var production = map[string][]string{
	"services": {
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","annotations":{"external-dns.alpha.kubernetes.io/hostname":"shop.example.com","external-dns.kubernetes.io/ttl":"60","note":"kept"},"finalizers":["service.kubernetes.io/load-balancer-cleanup"]},"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.7","clusterIPs":["10.0.0.7"],"externalTrafficPolicy":"Local","healthCheckNodePort":31000,"ports":[{"port":80,"nodePort":30080}],"selector":{"app":"web"}}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"out","namespace":"shop"},"spec":{"type":"ExternalName","externalName":"db.example.com"}}`,
	},
	"deployments.apps": {
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"agent","namespace":"shop"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"a"}]}}}}`,
	},
	"cronjobs.batch": {
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"mail","namespace":"shop"},"spec":{"schedule":"* * * * *","suspend":false,"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"m","image":"m"}],"restartPolicy":"Never"}}}}}}`,
	},
	"secrets": {
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"sh.helm.release.v1.shop.v1","namespace":"shop","labels":{"owner":"helm","name":"shop"}},"type":"helm.sh/release.v1","data":{"release":"SDRzSUFB"}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"token","namespace":"shop","annotations":{"kubernetes.io/service-account.name":"app","kubernetes.io/service-account.uid":"u"}},"type":"kubernetes.io/service-account-token","data":{"token":"ZXlKaGJH"}}`,
	},
	"serviceaccounts": {
		`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"shop","annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/x"}},"secrets":[{"name":"token"}]}`,
	},
	"rolebindings.rbac.authorization.k8s.io": {
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"ops","namespace":"shop"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"kind":"ServiceAccount","name":"ci","namespace":"ci"}]}`,
	},
	"ingresses.networking.k8s.io": {
		`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"web","namespace":"shop"}}`,
	},
}

// restored does to the backup's objects what Velero does by the ConfigMap that start made.
func restored(t *testing.T, w *steptest.World, objects []*unstructured.Unstructured) map[string]map[string]any {
	t.Helper()
	cm := w.Get(cluster.ConfigMaps, "velero", "drill-"+w.Run.ID)
	if cm == nil {
		t.Fatal("there are no modifiers")
	}
	data, _, _ := unstructured.NestedStringMap(cm.Object, "data")
	var rules struct {
		Version               string
		ResourceModifierRules []struct {
			Conditions struct {
				Namespaces                       []string
				GroupResource, ResourceNameRegex string
			}
			MergePatches []struct{ PatchData string }
		}
	}
	if err := json.Unmarshal([]byte(data["modifiers.yaml"]), &rules); err != nil || rules.Version != "v1" {
		t.Fatal(err, rules.Version)
	}
	resource := map[string]string{"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts", "PersistentVolumeClaim": "persistentvolumeclaims",
		"StatefulSet": "statefulsets.apps", "Deployment": "deployments.apps", "CronJob": "cronjobs.batch", "RoleBinding": "rolebindings.rbac.authorization.k8s.io", "PersistentVolume": "persistentvolumes"}
	out := map[string]map[string]any{}
	for _, o := range objects {
		gr, ok := resource[o.GetKind()]
		if !ok {
			continue
		}
		got := change.Bare(o).Object
		for _, r := range rules.ResourceModifierRules {
			if r.Conditions.GroupResource != gr || !regexp.MustCompile(r.Conditions.ResourceNameRegex).MatchString(o.GetName()) ||
				(o.GetNamespace() != "" && len(r.Conditions.Namespaces) > 0 && !slices.Contains(r.Conditions.Namespaces, o.GetNamespace())) {
				continue
			}
			var patch map[string]any
			if err := json.Unmarshal([]byte(r.MergePatches[0].PatchData), &patch); err != nil {
				t.Fatal(err)
			}
			mergepatch.Apply(got, patch)
		}
		out[o.GetKind()+" "+o.GetName()] = got
	}
	return out
}

// normal is the object as JSON has it: every number is a float64.
func normal(t *testing.T, o map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
