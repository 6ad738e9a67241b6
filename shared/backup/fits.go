package backup

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// skew is how far the clock of the cluster that took the backup may be ahead of ours.
const skew = 5 * time.Minute

// inNamespace is a Stop where it touches the workload's namespace, or where that is not known, and a Warning elsewhere.
func (v *verification) inNamespace(namespace, reason, subject, means, format string, args ...any) {
	if v.exp.Namespace != "" && namespace != "" && namespace != v.exp.Namespace {
		v.warn(subject, means+"; it is not in the workload's namespace "+v.exp.Namespace, format, args...)
		return
	}
	v.wrong(reason, subject, means, format, args...)
}

// ended wants a backup that Velero calls complete.
func (v *verification) ended() {
	subject := keyOf(v.name, kindMetadata)
	means := "a restore brings back only what was backed up until then"
	s := v.doc.Status
	switch s.Phase {
	case PhaseCompleted:
		if s.Errors > 0 {
			v.warn(subject, "what the errors are about may be missing", "says %d errors", s.Errors)
		}
		return
	case "PartiallyFailed", "FinalizingPartiallyFailed", "WaitingForPluginOperationsPartiallyFailed":
		means = "what the errors are about is missing or incomplete, and a restore does not say so"
	case "Failed", "FailedValidation":
		means = "Velero does not restore it"
	}
	problem := "is in phase \"" + s.Phase + "\", expected " + PhaseCompleted
	if causes := slices.Concat(v.veleroErrors, s.ValidationErrors, nonEmpty(s.FailureReason)); len(causes) > 0 {
		problem += ": " + strings.Join(run.Few(causes, maxLines, 300), "; ")
	}
	v.wrong(ReasonNotCompleted, subject, means, "%s", problem)
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// age is counted from the start of the backup.
func (v *verification) age() {
	subject := keyOf(v.name, kindMetadata)
	at := v.summary.At()
	if at.IsZero() {
		v.wrong(ReasonNotCompleted, subject, "how much data a restore loses is not known", "does not say when the backup was taken")
		return
	}
	if v.summary.CompletedAt == nil && v.doc.Status.Phase == PhaseCompleted {
		v.wrong(ReasonNotCompleted, subject, "the backup is not as Velero wrote it", "is %s and does not say since when", PhaseCompleted)
	}
	age := v.exp.Now.Sub(at)
	switch {
	case age < -skew:
		v.wrong(ReasonFromTheFuture, subject, "one of the clocks is wrong, and no age can be believed", "was taken at %s, which has not come yet", at.UTC().Format(time.RFC3339))
	case v.exp.MaxAge > 0 && age > v.exp.MaxAge:
		v.wrong(ReasonTooOld, subject, "a restore loses more data than the plan allows", "was taken %s ago, expected at most %s", age.Round(time.Second), v.exp.MaxAge)
	}
	if e := v.summary.Expires; e != nil && e.Before(v.exp.Now) {
		v.warn(subject, "Velero deletes it at its next round, perhaps in the middle of a restore", "expired at %s", e.UTC().Format(time.RFC3339))
	}
}

// identity compares cluster and Kubernetes version with the target's.
func (v *verification) identity() {
	subject := keyOf(v.name, kindMetadata)
	sources := []struct{ where, uid string }{{"the label " + LabelCluster, v.summary.ClusterUID}}
	if v.content.systemUID != "" {
		sources = append(sources, struct{ where, uid string }{"the Namespace kube-system in the tarball", v.content.systemUID})
	}
	if v.seal != nil && v.seal.ClusterUID != "" {
		sources = append(sources, struct{ where, uid string }{"the signed manifest", v.seal.ClusterUID})
	}
	for _, s := range sources {
		switch {
		case s.uid == "":
		case v.summary.ClusterUID == "":
			v.summary.ClusterUID = s.uid
		case s.uid != v.summary.ClusterUID:
			v.wrong(ReasonOtherCluster, subject, "it is not known which cluster the backup is of", "says the cluster %s, %s says %s", v.summary.ClusterUID, s.where, s.uid)
		}
	}
	switch have, want := v.summary.ClusterUID, v.exp.ClusterUID; {
	case have == "":
		v.warn(subject, "it may be of another cluster that writes into the same bucket: a drill refuses it, and a recover goes on without it", "does not say which cluster it is of (the label %s, a signed manifest, or the Namespace kube-system in it would)", LabelCluster)
	case want == "":
		v.warn(subject, "the backup may be of another cluster", "is of the cluster %s, and the target's identity is not known", have)
	case have != want:
		v.wrong(ReasonOtherCluster, subject, "a restore would bring another cluster's workload", "is of the cluster %s, the target is %s", have, want)
	}
	v.kubernetes(subject)
}

// kubernetes wants a target that is not below the source: Velero does not support a restore into a lower version
// (https://velero.io/docs/v1.18/migration-case/).
func (v *verification) kubernetes(subject string) {
	from, ferr := version.ParseGeneric(v.summary.KubernetesVersion)
	to, terr := version.ParseGeneric(v.exp.KubernetesVersion)
	switch {
	case ferr != nil:
		v.warn(subject, "objects of a newer Kubernetes may not be understood by the target", "does not say which Kubernetes it is of (%q)", v.summary.KubernetesVersion)
	case terr != nil:
		v.warn(subject, "objects of a newer Kubernetes may not be understood by the target", "is of Kubernetes %s, and the target's version is not known", v.summary.KubernetesVersion)
	case to.Major() < from.Major() || (to.Major() == from.Major() && to.Minor() < from.Minor()):
		v.wrong(ReasonKubernetesMismatch, subject, "Velero does not support a restore into a lower version", "is of Kubernetes %s, the target has %s", v.summary.KubernetesVersion, v.exp.KubernetesVersion)
	case to.Major() != from.Major() || to.Minor() > from.Minor()+1:
		v.warn(subject, "API versions of the backup may not exist any more", "is of Kubernetes %s, the target has %s", v.summary.KubernetesVersion, v.exp.KubernetesVersion)
	}
}

// workload wants the plan's workload in the backup.
func (v *verification) workload() {
	ns, sts := v.exp.Namespace, v.exp.StatefulSet
	if v.doc != nil && ns != "" && !includes(v.doc.Spec.IncludedNamespaces, v.doc.Spec.ExcludedNamespaces, ns) {
		v.wrong(ReasonOtherWorkload, keyOf(v.name, kindMetadata), "the workload is not in the backup", "does not include the namespace %s", ns)
	}
	if ns != "" && sts != "" && !v.content.stateful {
		v.wrong(ReasonOtherWorkload, keyOf(v.name, kindContents), "the workload would not come back", "does not hold the StatefulSet %s/%s", ns, sts)
	}
}

// volumes judges how the data of each volume was kept.
func (v *verification) volumes() {
	subject := keyOf(v.name, kindVolumeInfo)
	for _, i := range v.infos {
		if i.Skipped {
			if v.exp.Namespace == "" || i.namespace() == v.exp.Namespace {
				v.warn(subject, "the claim comes back empty", "%s was skipped: %s", i, strings.TrimSpace(i.SkippedReason))
			}
			continue
		}
		if t := i.trouble(); t != "" {
			v.inNamespace(i.namespace(), ReasonVolumes, subject, "its data cannot be restored", "%s %s", i, t)
		}
	}
}

// claims wants every claim of the tarball among the volumes.
func (v *verification) claims() {
	if !v.infosRead {
		return
	}
	subject := keyOf(v.name, kindVolumeInfo)
	known := map[string]bool{}
	for _, i := range v.infos {
		at := i.PVCNamespace + "/" + i.PVCName
		if _, held := v.content.claims[at]; !held && i.PVCName != "" {
			v.warn(subject, "its data may be there, and nothing would ask for it", "%s is not in the tarball", i)
		}
		known[at] = true
	}
	for _, at := range slices.Sorted(maps.Keys(v.content.claims)) {
		c := v.content.claims[at]
		ns, _, _ := strings.Cut(at, "/")
		switch {
		case known[at]:
		case c.volume == "":
			v.note(subject, "there was nothing to keep: the claim comes back as it was", "claim %s had no volume yet", at)
		default:
			v.inNamespace(ns, ReasonVolumes, subject, "it is not known that its data was kept: the claim comes back empty, or bound to the volume in use",
				"claim %s with the volume %s is not among the volumes", at, c.volume)
		}
	}
}

// integrityVerdict says what is known about the bytes.
func (v *verification) integrityVerdict() {
	if v.seal == nil {
		return
	}
	for _, s := range v.seal.Objects {
		if !slices.ContainsFunc(v.objects, func(o Object) bool { return o.Key == s.Key }) {
			v.integrity = signal.False
			if p := partOf(v.name, s.Key); !p.always { // else it was said
				v.wrong(ReasonObjectMissing, s.Key, p.means, "is missing; the signed manifest names it")
			}
		}
	}
	for _, o := range v.objects {
		p := partOf(v.name, o.Key)
		if p.kind.ours() || v.seal.has(o.Key) {
			continue
		}
		if p.kind == kindOther {
			continue // warned of
		}
		v.integrity = signal.False
		v.wrong(ReasonContent, o.Key, "Velero would believe it", "is not in the signed manifest")
	}
	if v.integrity == signal.Unknown && len(v.digests) > 0 && v.compared() {
		v.integrity = signal.True
	}
}

// compared tells whether every object of the manifest was read to its end.
func (v *verification) compared() bool {
	for _, s := range v.seal.Objects {
		if v.digests[s.Key] == "" {
			return false
		}
	}
	return true
}
