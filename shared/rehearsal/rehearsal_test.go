package rehearsal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/rehearsal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const driver = "csi.example.com"

// target is a cluster that has everything the backup needs, by what is taken away or spoiled in a test.
func target() map[string]string {
	return map[string]string{
		"namespace":     "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
		"class":         "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: " + driver + "}",
		"driver":        "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: " + driver + "}}",
		"csinode":       "{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: n1}, spec: {drivers: [{name: " + driver + ", nodeID: n1}]}}",
		"node":          "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/region: eu-west-1}}}",
		"snapshotclass": "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: snaps, labels: {velero.io/csi-volumesnapshot-class: 'true'}}, driver: " + driver + ", deletionPolicy: Retain}",
		"priority":      "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}",
		"location":      location("velero", "shop", "Available", "2026-11-21T01:59:30Z"),
		"backup":        "{apiVersion: velero.io/v1, kind: Backup, metadata: {name: b1, namespace: velero}, spec: {storageLocation: default}}",
	}
}

func location(bucket, prefix, phase, validated string) string {
	return fmt.Sprintf(`{apiVersion: velero.io/v1, kind: BackupStorageLocation, metadata: {name: default, namespace: velero},
  spec: {provider: aws, objectStorage: {bucket: %s, prefix: %s}}, status: {phase: %s, lastValidationTime: %q}}`, bucket, prefix, phase, validated)
}

// wanted is what the restore would create in a namespace.
func wanted(ns string) []string {
	return []string{
		"{apiVersion: v1, kind: Secret, metadata: {name: pg, namespace: " + ns + "}}",
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-pg-0, namespace: " + ns + "}, spec: {storageClassName: fast, resources: {requests: {storage: 1Gi}}}}",
		"{apiVersion: v1, kind: Service, metadata: {name: pg, namespace: " + ns + "}, spec: {clusterIP: None, ports: [{port: 5432}]}}",
		"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: " + ns + "}, spec: {template: {spec: {priorityClassName: high}}}}",
	}
}

const pv = `{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-0}, spec: {claimRef: {namespace: shop, name: data-pg-0},
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.ebs.csi.aws.com/zone, operator: In, values: [%s]}]}]}}}}`

// scene is one rehearsal.
type scene struct {
	w    *steptest.World
	in   rehearsal.Input
	have map[string]string
}

func (s *scene) object(text string) *unstructured.Unstructured { return steptest.Object(s.w, text) }

func rehearse(t *testing.T, drill bool, change func(*scene), later func(*steptest.World)) rehearsal.Result {
	t.Helper()
	s := &scene{have: target(), w: &steptest.World{TB: t}}
	ns := "shop"
	if drill {
		ns = "drill-x"
	}
	s.in = rehearsal.Input{Drill: drill, Run: "shop-drill-20261121020000-9f3c", Namespace: "shop", Target: ns, Required: []string{"data-pg-0"}, Spare: "fallback-chain", Backup: "b1",
		KubernetesVersion: steptest.Kubernetes, Volumes: []run.BackupVolume{{Namespace: "shop", Claim: "data-pg-0", Method: "CSISnapshot", Driver: driver, Handle: "h"}},
		PersistentVolumes: []*unstructured.Unstructured{s.object(fmt.Sprintf(pv, "eu-west-1a"))},
		Velero:            plan.Velero{Location: "s3://velero/shop", Namespace: "velero", StorageLocation: "default"}, Now: steptest.Start}
	for _, o := range wanted(ns) {
		s.in.Objects = append(s.in.Objects, s.object(o))
	}
	if change != nil {
		change(s)
	}
	var objects []string
	for _, o := range s.have {
		objects = append(objects, o)
	}
	mode := run.Recover
	if drill {
		mode = run.Drill
	}
	s.w = steptest.New(t, mode, &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}, objects...)
	if later != nil {
		later(s.w)
	}
	s.in.Cluster = s.w.Cluster
	res, err := rehearsal.Rehearse(t.Context(), s.in)
	if err != nil {
		t.Fatal(err)
	}
	if writes := s.w.Writes(); len(writes) > 0 {
		t.Errorf("a rehearsal changed %v", writes)
	}
	return res
}

// told are the findings as "severity subject: problem", without the note on where was asked.
func told(r rehearsal.Result) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Subject == "dry run" && f.Severity == run.Note {
			continue
		}
		out = append(out, f.Severity+" "+f.Subject+": "+f.Problem)
		if f.Means == "" {
			out = append(out, f.Subject+" means nothing")
		}
	}
	return out
}

func expect(t *testing.T, r rehearsal.Result, want ...string) {
	t.Helper()
	got := told(r)
	if len(got) != len(want) {
		t.Errorf("%d findings, expected %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for _, w := range want {
		parts := strings.Split(w, " … ")
		if !slices.ContainsFunc(got, func(g string) bool {
			return strings.HasPrefix(g, parts[0]) && !slices.ContainsFunc(parts[1:], func(p string) bool { return !strings.Contains(g, p) })
		}) {
			t.Errorf("no finding %q in\n%s", w, strings.Join(got, "\n"))
		}
	}
}

func TestNothingInTheWay(t *testing.T) {
	r := rehearse(t, true, nil, nil)
	expect(t, r)
	if r.Asked != 4 || r.AskedIn != "shop" {
		t.Errorf("%+v", r)
	}
	r = rehearse(t, false, nil, nil)
	expect(t, r)
	if r.Asked != 4 || r.AskedIn != "shop" {
		t.Errorf("%+v", r)
	}
}

func without(key string) func(*scene) { return func(s *scene) { delete(s.have, key) } }
func with(key, o string) func(*scene) { return func(s *scene) { s.have[key] = o } }

func TestFindings(t *testing.T) {
	quota := "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: shop}, spec: {hard: {%s}}, status: {used: {%s}}}"
	for _, tc := range []struct {
		name   string
		change func(*scene)
		drill  []string
		// recover is what the same target means to a recover.
		recover []string
	}{
		{"no StorageClass", without("class"), []string{"Stop StorageClass fast: does not exist"}, []string{"Stop StorageClass fast: does not exist"}},
		{"a StorageClass that the backup holds", func(s *scene) {
			if !s.in.Drill {
				s.in.Objects = append(s.in.Objects, s.object(s.have["class"]))
			}
			delete(s.have, "class")
		}, []string{"Stop StorageClass fast"}, []string{"Note StorageClass fast: does not exist"}},
		{"a StorageClass of another driver", with("class", "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: other}"),
			[]string{"Stop StorageClass fast: is of driver other"}, []string{"Stop StorageClass fast: is of driver other"}},
		{"no driver", func(s *scene) { delete(s.have, "driver"); delete(s.have, "csinode") }, []string{"Stop CSIDriver csi.example.com: is not installed"}, []string{"Stop CSIDriver csi.example.com"}},
		{"a driver on no node", without("csinode"), []string{"Stop CSIDriver csi.example.com: is registered on no node"}, []string{"Warning CSIDriver csi.example.com"}},
		{"a driver without its object", without("driver"), []string{"Warning CSIDriver csi.example.com"}, []string{"Warning CSIDriver csi.example.com"}},
		{"no VolumeSnapshotClass", without("snapshotclass"), []string{"Warning VolumeSnapshotClass"}, []string{"Warning VolumeSnapshotClass"}},
		{"VolumeSnapshotClasses without Velero's label", func(s *scene) {
			s.have["snapshotclass"] = "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: a}, driver: " + driver + "}"
			s.have["b"] = "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: b}, driver: " + driver + "}"
		}, []string{"Warning VolumeSnapshotClass: driver csi.example.com has"}, []string{"Warning VolumeSnapshotClass"}},
		{"no PriorityClass", without("priority"), []string{"Stop PriorityClass high: does not exist on the target; StatefulSet pg uses it"}, []string{"Stop PriorityClass high"}},
		{"a higher Kubernetes in the backup", func(s *scene) { s.in.KubernetesVersion = "v1.37.0" }, []string{"Stop Kubernetes version … which is lower"}, []string{"Stop Kubernetes version"}},
		{"a much lower one", func(s *scene) { s.in.KubernetesVersion = "v1.33.0" }, []string{"Warning Kubernetes version"}, []string{"Warning Kubernetes version"}},
		{"none", func(s *scene) { s.in.KubernetesVersion = "" }, []string{"Warning Kubernetes version"}, []string{"Warning Kubernetes version"}},
		{"snapshots of another Region", func(s *scene) { s.in.Region = "eu-central-1" },
			[]string{"Stop volumes of Region eu-west-1: 1 claims (data-pg-0) have snapshots in Region eu-west-1, and the target is in eu-central-1"}, []string{"Stop volumes of Region eu-west-1"}},
		{"moved data of another Region", func(s *scene) { s.in.Region = "eu-central-1"; s.in.Volumes[0].Method = backup.MethodDataMovement }, nil,
			[]string{"Warning PersistentVolumeClaim data-pg-0"}},
		{"an unknown Region", func(s *scene) { s.in.PersistentVolumes = nil }, []string{"Note Region: the Region of the volumes is not known"}, []string{"Note Region"}},
		{"no location", without("location"), []string{"Stop BackupStorageLocation velero/default: does not exist"}, []string{"Warning BackupStorageLocation velero/default"}},
		{"a location elsewhere", with("location", location("velero", "other", "Available", "2026-11-21T01:59:30Z")),
			[]string{"Stop BackupStorageLocation velero/default: is s3://velero/other"}, []string{"Warning BackupStorageLocation velero/default"}},
		{"a location that Velero cannot read", with("location", location("velero", "shop", "Unavailable", "2026-11-21T01:59:30Z")),
			[]string{"Stop BackupStorageLocation velero/default: is Unavailable"}, []string{"Warning BackupStorageLocation velero/default"}},
		{"no Velero server", with("location", location("velero", "shop", "Available", "2026-11-21T01:40:00Z")),
			[]string{"Stop Velero: validated its location 20m0s ago, and no replica"}, []string{"Warning Velero"}},
		{"a Velero server that does not validate", func(s *scene) {
			s.have["location"] = location("velero", "shop", "Available", "2026-11-21T01:40:00Z")
			s.have["deploy"] = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: velero, namespace: velero}, status: {availableReplicas: 1}}"
		}, []string{"Note Velero: validated its location 20m0s ago"}, []string{"Note Velero"}},
		{"a backup that Velero has not seen", without("backup"), []string{"Stop Backup velero/b1"}, []string{"Warning Backup velero/b1"}},
		{"a backup of another location", with("backup", "{apiVersion: velero.io/v1, kind: Backup, metadata: {name: b1, namespace: velero}, spec: {storageLocation: other}}"),
			[]string{"Stop Backup velero/b1: is of location other"}, []string{"Warning Backup velero/b1"}},
		{"a kind that is not served", func(s *scene) {
			s.in.Objects = append(s.in.Objects, s.object("{apiVersion: example.com/v1, kind: Thing, metadata: {name: a, namespace: "+s.in.Target+"}}"))
		}, []string{"Stop kind Thing: the target does not serve example.com/v1; the backup has 1 of it"}, []string{"Stop kind Thing"}},
		{"a version that is not served", func(s *scene) {
			s.in.Objects = append(s.in.Objects, s.object("{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: a, namespace: "+s.in.Target+"}}"))
		}, []string{"Stop kind Deployment … and the target serves apps/v1"}, []string{"Stop kind Deployment"}},
		{"a drill's namespace that exists", with("drill", "{apiVersion: v1, kind: Namespace, metadata: {name: drill-x}}"), []string{"Stop Namespace drill-x: exists already"}, nil},
		{"objects that exist", func(s *scene) {
			s.have["a"] = wanted("shop")[0]
			s.have["b"] = wanted("shop")[2]
		}, nil, []string{"Note Namespace shop: has 2 of the backup's 4 objects"}},
		{"a quota of the living namespace", with("quota", fmt.Sprintf(quota, "requests.storage: 2Gi", "requests.storage: 1500Mi")),
			nil, []string{"Stop ResourceQuota q: allows 2Gi of requests.storage; 1500Mi are used, and 1 claims want 1Gi more"}},
		{"a quota of a class", with("quota", fmt.Sprintf(quota, "fast.storageclass.storage.k8s.io/persistentvolumeclaims: '0', slow.storageclass.storage.k8s.io/persistentvolumeclaims: '0'", "")),
			nil, []string{"Stop ResourceQuota q: allows 0 of fast.storageclass.storage.k8s.io/persistentvolumeclaims"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Run("drill", func(t *testing.T) { expect(t, rehearse(t, true, tc.change, nil), tc.drill...) })
			t.Run("recover", func(t *testing.T) { expect(t, rehearse(t, false, tc.change, nil), tc.recover...) })
		})
	}
}

// TestData: what the restore refuses is found before, and what a recover would make empty.
func TestData(t *testing.T) {
	const stop = "Stop PersistentVolumeClaim data-pg-0: backup b1 "
	for _, tc := range []struct {
		name   string
		change func(*scene)
		// drill is what a drill meets, warning tells that a recover meets something too.
		drill   string
		warning bool
	}{
		{"a CSI snapshot", func(*scene) {}, "", false},
		{"moved data", func(s *scene) { s.in.Volumes[0].Method = backup.MethodDataMovement }, "", true},
		{"a file-system backup", func(s *scene) { s.in.Volumes[0].Method = backup.MethodPodVolumeBackup }, stop + "holds its data as a file-system backup", true},
		{"a native snapshot", func(s *scene) { s.in.Volumes[0].Method = backup.MethodNativeSnapshot }, stop + "holds its data as a native snapshot", true},
		{"skipped", func(s *scene) { s.in.Volumes[0].Method = backup.MethodSkipped }, stop + "does not hold its data", true},
		{"no data", func(s *scene) { s.in.Volumes = nil }, stop + "does not hold its data", true},
		{"only another claim's", func(s *scene) { s.in.Volumes[0].Claim = "other" }, stop + "does not hold its data", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const warning = "Warning PersistentVolumeClaim data-pg-0: does not exist on the target"
			stops, warns := 0, 0
			look := func(drill bool, change func(*scene)) {
				stops, warns = 0, 0
				for _, f := range told(rehearse(t, drill, func(s *scene) { tc.change(s); change(s) }, nil)) {
					switch {
					case tc.drill != "" && strings.HasPrefix(f, tc.drill):
						stops++
					case strings.HasPrefix(f, warning):
						warns++
					case strings.Contains(f, "data-pg-0") && !strings.Contains(f, "Region"):
						t.Errorf("%s", f)
					}
				}
			}
			check := func(what string, wantStops, wantWarns bool) {
				t.Helper()
				if stops > 1 || warns > 1 || (stops > 0) != wantStops || (warns > 0) != wantWarns {
					t.Errorf("%s: %d stops, %d warnings", what, stops, warns)
				}
			}
			refused := tc.drill != ""
			look(true, func(*scene) {})
			check("drill", refused, false)
			look(false, func(s *scene) { s.in.Evaluate = true })
			check("evaluate", refused, tc.warning)
			look(false, func(*scene) {})
			check("recover", false, tc.warning)
			look(false, func(s *scene) { s.have["claim"] = wanted("shop")[1] })
			check("recover beside the claim", false, false)
		})
	}
	r := rehearse(t, true, func(s *scene) { s.in.Required = append(s.in.Required, "data-pg-1") }, nil)
	expect(t, r, "Stop PersistentVolumeClaim data-pg-1: backup b1 does not hold it")
}

func TestWhereItAsks(t *testing.T) {
	spare := "{apiVersion: v1, kind: Namespace, metadata: {name: fallback-chain}}"
	gone := func(s *scene) { delete(s.have, "namespace"); s.have["spare"] = spare }
	r := rehearse(t, true, gone, nil)
	if r.AskedIn != "fallback-chain" || r.Asked != 4 {
		t.Errorf("%+v", r)
	}
	r = rehearse(t, true, without("namespace"), nil)
	expect(t, r, "Warning dry run: there is no namespace to ask")
	r = rehearse(t, false, gone, nil)
	expect(t, r, "Note Namespace shop: does not exist")
	if r.AskedIn != "fallback-chain" {
		t.Errorf("%+v", r)
	}
	r = rehearse(t, false, with("namespace", "{apiVersion: v1, kind: Namespace, metadata: {name: shop, deletionTimestamp: '2026-11-21T01:00:00Z'}}"), nil)
	expect(t, r, "Stop Namespace shop: is being deleted", "Warning dry run: there is no namespace")
}

// refusing answers the dry run of a resource with an error that names the object.
func refusing(resource string, answer func(name string) error) func(*steptest.World) {
	return func(w *steptest.World) {
		w.Fake.PrependReactor("create", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, answer(a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured).GetName())
		})
	}
}

func TestRefusals(t *testing.T) {
	gr := schema.GroupResource{Resource: "secrets"}
	for _, tc := range []struct {
		name   string
		answer func(name string) error
		want   string
	}{
		{"admission", func(n string) error {
			return apierrors.NewForbidden(gr, n, fmt.Errorf("admission webhook denied the request: no"))
		}, "Stop Secret pg: the API server refuses it … webhook denied"},
		{"validation", func(n string) error { return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, n, nil) }, "Stop Secret pg: the API server refuses it … is invalid"},
		{"a quota beside the living", func(n string) error {
			return apierrors.NewForbidden(gr, n, fmt.Errorf("exceeded quota: q, requested: secrets=1"))
		}, "Note Secret pg … exceeded quota"},
		{"no permission", func(n string) error {
			return apierrors.NewForbidden(gr, "", fmt.Errorf(`User "x" cannot create resource "secrets" in API group "" in the namespace "shop"`))
		}, "Warning dry run: this user may not create secrets in namespace shop"},
		{"a webhook without dry runs", func(string) error { return apierrors.NewBadRequest("admission webhook x does not support dry run") }, "Warning Secret pg"},
		{"a webhook that is away", func(string) error { return apierrors.NewInternalError(fmt.Errorf("failed calling webhook x: refused")) }, "Stop Secret pg"},
	} {
		t.Run(tc.name, func(t *testing.T) { expect(t, rehearse(t, true, nil, refusing("secrets", tc.answer)), tc.want) })
	}
}

// TestQuotaInTheTarget: in the target itself, under its own name, a quota's refusal is the restore's.
func TestQuotaInTheTarget(t *testing.T) {
	full := refusing("secrets", func(n string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, n, fmt.Errorf("exceeded quota: q"))
	})
	expect(t, rehearse(t, false, nil, full), "Stop Secret pg … exceeded quota")
}

func TestAnAPIServerThatDoesNotAnswerIsNoFinding(t *testing.T) {
	w := steptest.New(t, run.Drill, &plan.Plan{Metadata: plan.Metadata{Name: "shop"}})
	w.Fake.PrependReactor("list", "storageclasses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("away")
	})
	in := rehearsal.Input{Cluster: w.Cluster, Target: "shop", Namespace: "shop", KubernetesVersion: steptest.Kubernetes, Now: steptest.Start,
		Objects: []*unstructured.Unstructured{steptest.Object(t, wanted("shop")[1])}}
	if _, err := rehearsal.Rehearse(t.Context(), in); err == nil {
		t.Error("it answered")
	}
}

func TestFiveThousandObjects(t *testing.T) {
	r := rehearse(t, true, func(s *scene) {
		for i := range 5000 {
			s.in.Objects = append(s.in.Objects, s.object(fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: c%d, namespace: drill-x}}", i)))
		}
	}, refusing("configmaps", func(n string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, n, nil)
	}))
	expect(t, r, "Stop ConfigMap c0, and 195 more")
	if r.Asked != rehearsal.AskLimit {
		t.Errorf("asked %d", r.Asked)
	}
	if !slices.ContainsFunc(r.Findings, func(f run.Finding) bool { return strings.Contains(f.Problem, "200 of 5004 objects") }) {
		t.Errorf("%+v", r.Findings)
	}
}
