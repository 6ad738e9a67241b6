package velero_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"fallbackchain.io/fallback/shared/backup"
)

// known holds by kind the fields that Velero 1.18 and the snapshot CRDs have (those we may use), from their Go types:
// https://github.com/vmware-tanzu/velero/tree/v1.18.3/pkg/apis/velero/v1,
// https://github.com/kubernetes-csi/external-snapshotter/blob/client/v8.7.0/client/apis/volumesnapshot/v1/types.go
func known() map[string][]string {
	return map[string][]string{
		"velero.io/v1 Schedule": {"spec.schedule", "spec.paused", "spec.skipImmediately", "spec.useOwnerReferencesInBackup",
			"spec.template.metadata.labels.*", "spec.template.includedNamespaces", "spec.template.excludedNamespaces", "spec.template.includeClusterResources",
			"spec.template.storageLocation", "spec.template.snapshotVolumes", "spec.template.snapshotMoveData", "spec.template.defaultVolumesToFsBackup",
			"spec.template.csiSnapshotTimeout", "spec.template.itemOperationTimeout", "spec.template.ttl"},
		"velero.io/v1 BackupStorageLocation": {"spec.provider", "spec.accessMode", "spec.default", "spec.objectStorage.bucket", "spec.objectStorage.prefix",
			"spec.config.*", "spec.backupSyncPeriod", "spec.validationFrequency"},
		"snapshot.storage.k8s.io/v1 VolumeSnapshotClass": {"driver", "deletionPolicy", "parameters.*"},
	}
}

// paths lists the leaves of a YAML mapping.
func paths(prefix string, v any) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{prefix}
	}
	var out []string
	for k, x := range m {
		p := k
		if prefix != "" {
			p = prefix + "." + k
		}
		out = append(out, paths(p, x)...)
	}
	return out
}

func matches(path string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		begin, open := strings.CutSuffix(a, "*")
		return path == a || (open && strings.HasPrefix(path, begin))
	})
}

func tree(t *testing.T, name string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal(file(t, name), &m); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// at reads a value by its path of keys.
func at(m any, keys ...string) any {
	for _, k := range keys {
		next, ok := m.(map[string]any)
		if !ok {
			return nil
		}
		m = next[k]
	}
	return m
}

func TestObjects(t *testing.T) {
	type is struct {
		path []string
		want any
	}
	for name, c := range map[string]struct {
		kind string
		want []is
	}{
		"schedule.yaml": {"velero.io/v1 Schedule", []is{
			{[]string{"spec", "template", "metadata", "labels", backup.LabelCluster}, "${CLUSTER_UID}"},
			{[]string{"spec", "template", "defaultVolumesToFsBackup"}, false}, {[]string{"spec", "template", "snapshotMoveData"}, false},
			{[]string{"spec", "template", "csiSnapshotTimeout"}, "10m"}, {[]string{"spec", "template", "ttl"}, "720h"}}},
		"storagelocation-readonly.yaml": {"velero.io/v1 BackupStorageLocation", []is{{[]string{"spec", "accessMode"}, "ReadOnly"}, {[]string{"spec", "provider"}, "aws"}}},
		"volumesnapshotclass.yaml": {"snapshot.storage.k8s.io/v1 VolumeSnapshotClass", []is{
			{[]string{"metadata", "labels", "velero.io/csi-volumesnapshot-class"}, "true"}, {[]string{"driver"}, "ebs.csi.aws.com"}, {[]string{"deletionPolicy"}, "Retain"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := tree(t, name)
			if got := m["apiVersion"].(string) + " " + m["kind"].(string); got != c.kind {
				t.Fatalf("it is a %s, expected %s", got, c.kind)
			}
			allowed := append([]string{"apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.labels.*"}, known()[c.kind]...)
			for _, p := range paths("", m) {
				if !matches(p, allowed) {
					t.Errorf("%s has no field %s", c.kind, p)
				}
			}
			for _, w := range c.want {
				if got := at(m, w.path...); got != w.want {
					t.Errorf("%s is %v, expected %v", strings.Join(w.path, "."), got, w.want)
				}
			}
		})
	}
}

// chartKeys are the values of the chart that values.yaml may set:
// https://github.com/vmware-tanzu/helm-charts/blob/velero-12.1.0/charts/velero/values.yaml
func chartKeys() []string {
	return []string{"image.repository", "image.tag", "initContainers", "configuration.features", "configuration.backupStorageLocation",
		"configuration.volumeSnapshotLocation", "configuration.defaultVolumesToFsBackup", "configuration.defaultSnapshotMoveData",
		"configuration.itemBlockWorkerCount", "configuration.extraEnvVars", "configuration.defaultBackupTTL", "configuration.defaultItemOperationTimeout",
		"configuration.dataMoverPrepareTimeout", "configuration.logFormat", "snapshotsEnabled", "backupsEnabled", "deployNodeAgent",
		"nodeAgent.resources.*", "resources.*", "credentials.useSecret", "serviceAccount.server.create", "serviceAccount.server.name",
		"serviceAccount.server.annotations.*", "upgradeCRDs", "cleanUpCRDs", "metrics.enabled", "metrics.serviceMonitor.autodetect",
		"metrics.serviceMonitor.enabled", "metrics.prometheusRule.autodetect", "metrics.prometheusRule.enabled", "metrics.prometheusRule.spec"}
}

func TestValues(t *testing.T) {
	m := tree(t, "values.yaml")
	for _, p := range paths("", m) {
		if !matches(p, chartKeys()) {
			t.Errorf("the chart has no value %s", p)
		}
	}
	var v struct {
		Image          struct{ Tag string }
		InitContainers []struct {
			Name, Image  string
			VolumeMounts []struct {
				MountPath string `yaml:"mountPath"`
				Name      string
			} `yaml:"volumeMounts"`
		} `yaml:"initContainers"`
		Configuration struct {
			Features              string
			BackupStorageLocation []struct {
				Provider, Bucket string
				AccessMode       string `yaml:"accessMode"`
				Config           map[string]string
			} `yaml:"backupStorageLocation"`
			DefaultVolumesToFsBackup *bool `yaml:"defaultVolumesToFsBackup"`
			ItemBlockWorkerCount     int   `yaml:"itemBlockWorkerCount"`
		}
		DeployNodeAgent  bool `yaml:"deployNodeAgent"`
		SnapshotsEnabled bool `yaml:"snapshotsEnabled"`
		Credentials      struct {
			UseSecret bool `yaml:"useSecret"`
		}
		ServiceAccount struct{ Server struct{ Name string } } `yaml:"serviceAccount"`
		Metrics        struct{ Enabled bool }
	}
	if err := yaml.Unmarshal(file(t, "values.yaml"), &v); err != nil {
		t.Fatal(err)
	}
	// The plugin's README: v1.14.x goes with v1.18.x.
	if len(v.InitContainers) != 1 || !regexp.MustCompile(`/velero-plugin-for-aws:v1\.14\.[0-9]+$`).MatchString(v.InitContainers[0].Image) || !regexp.MustCompile(`^v1\.18\.[0-9]+$`).MatchString(v.Image.Tag) {
		t.Errorf("Velero %s with %+v: expected v1.18 with the plugin v1.14, pinned", v.Image.Tag, v.InitContainers)
	} else if ms := v.InitContainers[0].VolumeMounts; len(ms) != 1 || ms[0].MountPath != "/target" || ms[0].Name != "plugins" {
		t.Errorf("the plugin is copied to %+v: expected /target of the volume plugins", ms)
	}
	if c := v.Configuration; c.Features != "EnableCSI" || c.DefaultVolumesToFsBackup == nil || *c.DefaultVolumesToFsBackup || len(c.BackupStorageLocation) != 1 {
		t.Errorf("configuration %+v", c)
	} else if l := c.BackupStorageLocation[0]; l.Provider != "aws" || l.AccessMode != "ReadWrite" || l.Config["region"] == "" {
		t.Errorf("location %+v", l)
	}
	if n := v.Configuration.ItemBlockWorkerCount; n != 1 {
		t.Errorf("%d item block workers: expected 1, several lose item operations (velero-io/velero#9659)", n)
	}
	if !v.DeployNodeAgent || v.SnapshotsEnabled || v.Credentials.UseSecret || !v.Metrics.Enabled {
		t.Errorf("expected the node-agent, no native snapshots, no key in a Secret, and metrics: %+v", v)
	}
	// The role is for the account that server and node-agent run as.
	who := "velero:" + v.ServiceAccount.Server.Name
	pod := policy(t, "trust-policy-pod-identity.json")[0].Condition["StringEquals"]
	irsa := policy(t, "trust-policy-irsa.json")[0].Condition["StringEquals"]
	if got := pod["aws:RequestTag/kubernetes-namespace"] + ":" + pod["aws:RequestTag/kubernetes-service-account"]; got != who {
		t.Errorf("Pod Identity trusts %s, Velero runs as %s", got, who)
	}
	if got := strings.TrimPrefix(irsa["${OIDC_PROVIDER}:sub"], "system:serviceaccount:"); got != who {
		t.Errorf("IRSA trusts %s, Velero runs as %s", got, who)
	}
}

func TestManifestKey(t *testing.T) {
	var d struct {
		Resources map[string]struct {
			Type       string
			Properties struct {
				KeySpec, KeyUsage string
				KeyPolicy         struct{ Statement []struct{ Sid, Action any } }
			}
		}
	}
	var m any
	if err := yaml.Unmarshal(file(t, "manifest-key.yaml"), &m); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	p := d.Resources["ManifestKey"].Properties
	if p.KeySpec != "ECC_NIST_P256" || p.KeyUsage != "SIGN_VERIFY" {
		t.Errorf("%s, %s: expected what manifests are signed with", p.KeySpec, p.KeyUsage)
	}
	for _, s := range p.KeyPolicy.Statement {
		text, _ := json.Marshal(s.Action)
		if bytes.Contains(text, []byte("*")) {
			t.Errorf("%v allows %s", s.Sid, text)
		}
		if signs := bytes.Contains(text, []byte(`"kms:Sign"`)); signs != (s.Sid == "Sign") {
			t.Errorf("%v signs: %t", s.Sid, signs)
		}
	}
}
