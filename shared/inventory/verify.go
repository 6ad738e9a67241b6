package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"fallbackchain.io/fallback/shared/signal"
)

// Reasons of a Result, from the least to the most pressing of each status.
const (
	ReasonVerified           = "Verified"
	ReasonNewerKubernetes    = "VerifiedNewerKubernetes"
	ReasonFilesBroken        = "FilesBroken"
	ReasonOtherCluster       = "OtherCluster"
	ReasonOtherWorkload      = "OtherWorkload"
	ReasonTooOld             = "TooOld"
	ReasonFromTheFuture      = "FromTheFuture"
	ReasonKubernetesMismatch = "KubernetesMismatch"
	ReasonMissing            = "BundleMissing"
	ReasonMalformed          = "BundleMalformed"
	ReasonUnreadable         = "BundleUnreadable"
	ReasonTargetUnknown      = "TargetUnknown"
	ReasonSourceUnknown      = "SourceUnknown"
)

// skew is how far the clock of the capturing machine may be ahead of ours.
const skew = 5 * time.Minute

// Target is the cluster and workload that the bundle must belong to.
type Target struct {
	// ClusterUID is the UID of the target's kube-system Namespace, KubernetesVersion its version. An empty one is unknown
	// and verifies nothing.
	ClusterUID        string
	KubernetesVersion string
	// Namespace and StatefulSet are the workload; empty ones are not compared.
	Namespace   string
	StatefulSet string
}

// Finding is one thing that is wrong with the bundle.
type Finding struct {
	// File is the path in the bundle; bundle.json when it is about the whole.
	File    string `json:"file"`
	Problem string `json:"problem"`
}

func (f Finding) String() string { return f.File + ": " + f.Problem }

// Result is the verdict on a bundle, shaped as a signal.
type Result struct {
	// Status is True, False (it was read and is wrong) or Unknown (it could not be read).
	Status   signal.Status `json:"status"`
	Reason   string        `json:"reason"`
	Message  string        `json:"message"`
	Findings []Finding     `json:"findings,omitempty"`
	// Warnings do not stand against using the bundle.
	Warnings []string `json:"warnings,omitempty"`
}

// VerifyDir opens and verifies the bundle in a directory; a bundle that cannot be opened is a Result as well.
func VerifyDir(ctx context.Context, dir string, now time.Time, target Target, maxAge time.Duration) Result {
	b, err := OpenDir(dir)
	if err != nil {
		return openFailed(dir, err)
	}
	r := b.Verify(ctx, now, target, maxAge)
	if err := b.Close(); err != nil {
		return openFailed(dir, err)
	}
	return r
}

func openFailed(dir string, err error) Result {
	r := Result{Status: signal.False, Reason: ReasonMalformed, Message: err.Error()}
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Reason, r.Message = ReasonMissing, fmt.Sprintf("there is no manifest bundle in %s", dir)
	case errors.As(err, &path):
		r.Status, r.Reason = signal.Unknown, ReasonUnreadable
	}
	r.Findings = []Finding{{File: ManifestFile, Problem: err.Error()}}
	return r
}

// verdict collects what was found; the first reason of the worst status is the result's.
type verdict struct{ Result }

func (v *verdict) add(status signal.Status, reason, file, format string, args ...any) {
	if v.Status == signal.True || (v.Status == signal.Unknown && status == signal.False) {
		v.Status, v.Reason = status, reason
	}
	v.Findings = append(v.Findings, Finding{File: file, Problem: fmt.Sprintf(format, args...)})
}

// Verify reads every file and holds the bundle against its own digests, the target and the greatest age. Everything that
// is wrong is a finding, not only the first.
func (b *Bundle) Verify(ctx context.Context, now time.Time, target Target, maxAge time.Duration) Result {
	v := &verdict{Result{Status: signal.True, Reason: ReasonVerified}}
	if !b.inMemory {
		b.verifyFiles(ctx, v)
		b.verifyExtra(v)
	}
	b.verifyIdentity(v, target)
	b.verifyAge(v, now, maxAge)
	b.verifyKubernetes(v, target)
	age := now.Sub(b.CapturedAt).Round(time.Second)
	if v.Status == signal.True {
		v.Message = fmt.Sprintf("%d objects captured %s ago from Kubernetes %s", b.Len(), age, b.KubernetesVersion)
		if !b.inMemory {
			v.Message += ", every digest matches"
		}
		if len(v.Warnings) > 0 {
			v.Message += "; " + strings.Join(v.Warnings, "; ")
		}
		return v.Result
	}
	v.Message = v.Findings[0].String()
	if n := len(v.Findings); n > 1 {
		v.Message += fmt.Sprintf(" (and %d more)", n-1)
	}
	return v.Result
}

func (b *Bundle) verifyFiles(ctx context.Context, v *verdict) {
	ids := map[string]string{}
	for _, f := range b.Files {
		if err := ctx.Err(); err != nil {
			v.add(signal.Unknown, ReasonUnreadable, f.Path, "was not read: %v", err)
			return
		}
		data, err := b.read(f)
		if err != nil {
			status, reason := fileStatus(err)
			v.add(status, reason, f.Path, "%s", plain(err))
			continue
		}
		o, err := decode(data)
		if err != nil {
			v.add(signal.False, ReasonFilesBroken, f.Path, "%v", err)
			continue
		}
		id := identity(o)
		if other, dup := ids[id]; dup {
			v.add(signal.False, ReasonFilesBroken, f.Path, "holds %s, and so does %s", id, other)
			continue
		}
		ids[id] = f.Path
	}
}

// fileStatus tells a file that is wrong from one that could not be read.
func fileStatus(err error) (signal.Status, string) {
	if errors.Is(err, errDigest) || errors.Is(err, errSize) || errors.Is(err, errKind) || errors.Is(err, fs.ErrNotExist) {
		return signal.False, ReasonFilesBroken
	}
	return signal.Unknown, ReasonUnreadable
}

func plain(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "is missing"
	}
	return err.Error()
}

// verifyExtra finds what bundle.json does not name: somebody put it there, or bundle.json lost it.
func (b *Bundle) verifyExtra(v *verdict) {
	listed := map[string]bool{ManifestFile: true}
	for _, f := range b.Files {
		listed[f.Path] = true
	}
	seen := 0
	err := fs.WalkDir(b.fsys, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return nil
		case listed[path]:
			return nil
		}
		if seen++; seen > CountLimit {
			return fs.SkipAll
		}
		v.add(signal.False, ReasonFilesBroken, path, "is not in %s", ManifestFile)
		return nil
	})
	if err != nil {
		v.add(signal.Unknown, ReasonUnreadable, ManifestFile, "the bundle's files cannot be listed: %v", err)
	}
}

func (b *Bundle) verifyIdentity(v *verdict, target Target) {
	switch {
	case target.ClusterUID == "":
		v.add(signal.Unknown, ReasonTargetUnknown, b.about(), "the target cluster's identity could not be read")
	case b.ClusterUID == "":
		v.add(signal.Unknown, ReasonSourceUnknown, b.about(), "it is not known which cluster it is of")
	case b.ClusterUID == target.ClusterUID:
	default:
		v.add(signal.False, ReasonOtherCluster, b.about(), "was captured from cluster %s, the target is %s", b.ClusterUID, target.ClusterUID)
	}
	if target.Namespace != "" && target.Namespace != b.Namespace {
		v.add(signal.False, ReasonOtherWorkload, b.about(), "holds namespace %s, the plan's is %s", b.Namespace, target.Namespace)
	}
	if target.StatefulSet != "" && target.StatefulSet != b.StatefulSet {
		v.add(signal.False, ReasonOtherWorkload, b.about(), "holds StatefulSet %s, the plan's is %s", b.StatefulSet, target.StatefulSet)
	}
}

func (b *Bundle) verifyAge(v *verdict, now time.Time, maxAge time.Duration) {
	age := now.Sub(b.CapturedAt)
	switch {
	case age < -skew:
		v.add(signal.False, ReasonFromTheFuture, b.about(), "was captured at %s, which has not come yet", b.CapturedAt.Format(time.RFC3339))
	case maxAge <= 0:
		v.add(signal.Unknown, ReasonTargetUnknown, b.about(), "no greatest age was given")
	case age > maxAge:
		v.add(signal.False, ReasonTooOld, b.about(), "is %s old, expected at most %s", age.Round(time.Second), maxAge)
	}
}

// verifyKubernetes wants the same minor, or a target one minor above. Objects of a newer server may have fields and
// versions that an older one does not know; two minors up is beyond what API deprecation gives notice for in one step
// (https://kubernetes.io/releases/version-skew-policy/).
func (b *Bundle) verifyKubernetes(v *verdict, target Target) {
	if target.KubernetesVersion == "" {
		v.add(signal.Unknown, ReasonTargetUnknown, b.about(), "the target's Kubernetes version could not be read")
		return
	}
	to, err := version.ParseGeneric(target.KubernetesVersion)
	from, ferr := version.ParseGeneric(b.KubernetesVersion)
	if ferr != nil {
		v.add(signal.Unknown, ReasonSourceUnknown, b.about(), "its Kubernetes version %q is not a version", b.KubernetesVersion)
		return
	}
	if err != nil {
		v.add(signal.Unknown, ReasonTargetUnknown, b.about(), "the target's Kubernetes version %q is not a version", target.KubernetesVersion)
		return
	}
	up := int64(to.Minor()) - int64(from.Minor())
	switch {
	case to.Major() != from.Major() || up < 0 || up > 1:
		v.add(signal.False, ReasonKubernetesMismatch, b.about(), "was captured from Kubernetes %s, the target has %s; expected the same minor or one higher",
			b.KubernetesVersion, target.KubernetesVersion)
	case up == 1:
		if v.Status == signal.True {
			v.Reason = ReasonNewerKubernetes
		}
		v.Warnings = append(v.Warnings, fmt.Sprintf("the target has Kubernetes %s, one minor above the bundle's %s", target.KubernetesVersion, b.KubernetesVersion))
	}
}

// about names the whole in findings.
func (b *Bundle) about() string {
	if b.inMemory {
		return "the backup"
	}
	return ManifestFile
}

// Signal is the result as assess reports it.
func (r Result) Signal(evidence ...string) signal.Signal {
	return signal.Signal{Status: r.Status, Reason: r.Reason, Message: r.Message, Evidence: slices.Clone(evidence)}
}
