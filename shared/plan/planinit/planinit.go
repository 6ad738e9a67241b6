// Package planinit writes a first plan from a live workload: a commented text whose guesses are marked, for a person to
// read and complete.
package planinit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"fallbackchain.io/fallback/shared/plan"
)

// Marks in the comments of the text.
const (
	// FillIn marks a value that nothing in the cluster told; the plan may be wrong there until somebody replaces it.
	FillIn = "FILL IN"
	// Check marks a guess.
	Check = "CHECK"
)

// Live is what was read of the workload and around it. Everything but the StatefulSet may be missing.
type Live struct {
	StatefulSet *appsv1.StatefulSet
	Services    []corev1.Service
	// Secrets of the namespace by name, with their keys; values are not needed.
	Secrets        []Secret
	Claims         []corev1.PersistentVolumeClaim
	StorageClasses []storagev1.StorageClass
	HPAs           []autoscalingv2.HorizontalPodAutoscaler
	// SnapshotClasses of the cluster.
	SnapshotClasses []SnapshotClass
	// Deployments in which a CSI controller is looked for.
	Deployments []appsv1.Deployment
	// Velero is what there is of Velero; nil when the cluster does not serve its kinds.
	Velero *Velero
	// Kubeconfig and Context are how the cluster was reached.
	Kubeconfig, Context string
}

// Secret is a Secret's name, type and keys.
type Secret struct {
	Name string
	Type corev1.SecretType
	Keys []string
}

// SnapshotClass is a VolumeSnapshotClass.
type SnapshotClass struct{ Name, Driver string }

// Velero is an installation of Velero.
type Velero struct {
	Namespace string
	// Locations are its BackupStorageLocations in S3, the default one first.
	Locations []BackupLocation
	// Schedules are the names of those whose backups hold the workload's namespace.
	Schedules []string
}

// BackupLocation is a BackupStorageLocation: spec.objectStorage.bucket and prefix, spec.config's region and s3Url.
type BackupLocation struct{ Name, Bucket, Prefix, Region, Endpoint string }

// Init writes the plan. It parses and validates, except in lines that are marked FILL IN.
func Init(live Live) ([]byte, error) {
	if live.StatefulSet == nil {
		return nil, errors.New("there is no StatefulSet to write a plan for")
	}
	w := &writer{}
	w.header(live)
	w.workload(live)
	w.cluster(live)
	w.inventory(live)
	w.volumes(live)
	w.tiers()
	w.quarantine()
	w.rollback(live)
	w.pause(live)
	w.rest()
	out := w.buf.Bytes()
	return out, check(out)
}

// check holds the text against the parser: a mistake outside of a marked line is ours.
func check(text []byte) error {
	_, problems := plan.Parse("", text)
	marked := map[int]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		marked[n] = strings.Contains(lines.Text(), FillIn)
	}
	for _, p := range problems {
		if !marked[p.Line] {
			return fmt.Errorf("the plan written for this workload has a mistake: %s", p)
		}
	}
	return nil
}

// writer writes lines of YAML.
type writer struct{ buf bytes.Buffer }

// line writes a line at a depth; a comment, when given, follows it.
func (w *writer) line(depth int, text string, comment ...string) {
	w.buf.WriteString(strings.Repeat("  ", depth) + text)
	if c := strings.Join(comment, " "); c != "" {
		w.buf.WriteString("  # " + c)
	}
	w.buf.WriteByte('\n')
}

// note writes a comment line.
func (w *writer) note(depth int, format string, args ...any) {
	w.line(depth, "# "+oneLine(fmt.Sprintf(format, args...)))
}

// value writes "key: value" with the value quoted where YAML needs it.
func (w *writer) value(depth int, key, value string, comment ...string) {
	w.line(depth, key+": "+quote(value), comment...)
}

// off writes a duration that has a default, as a comment with its bounds.
func (w *writer) off(depth int, key, path string) {
	w.line(depth, "# "+key+": "+bounds(path))
}

// quote writes text so that YAML reads it back as the same text.
func quote(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == "" &&
		strings.Trim(s, "0123456789-_./") != "" && s[0] != '-'
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain && !numeric(s) {
		return s
	}
	return "'" + strings.ReplaceAll(oneLine(s), "'", "''") + "'"
}

// numeric tells whether YAML could take the text for a number: 0x1f, 1e3, .inf.
func numeric(s string) bool {
	c := strings.TrimLeft(s, "-+.")
	return c == "" || (c[0] >= '0' && c[0] <= '9' && strings.Trim(strings.ToLower(c), "0123456789abcdefxo_.+-") == "") ||
		strings.EqualFold(c, "inf") || strings.EqualFold(c, "nan")
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			return ' '
		}
		return r
	}, s)
}
