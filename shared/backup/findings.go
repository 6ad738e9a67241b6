package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// Reasons of a verdict.
const (
	ReasonVerified           = "Verified"
	ReasonMissing            = "BackupMissing"
	ReasonObjectMissing      = "ObjectMissing"
	ReasonObjectBroken       = "ObjectBroken"
	ReasonLength             = "LengthMismatch"
	ReasonContent            = "ContentMismatch"
	ReasonNotCompleted       = "NotCompleted"
	ReasonOperationFailed    = "OperationFailed"
	ReasonVolumes            = "VolumesIncomplete"
	ReasonTooOld             = "TooOld"
	ReasonFromTheFuture      = "FromTheFuture"
	ReasonOtherCluster       = "OtherCluster"
	ReasonKubernetesMismatch = "KubernetesMismatch"
	ReasonOtherWorkload      = "OtherWorkload"
	ReasonManifestMissing    = "ManifestMissing"
	ReasonManifestBroken     = "ManifestBroken"
	ReasonSignature          = "SignatureWrong"
	ReasonDigest             = "DigestMismatch"
	ReasonRefused            = "Refused"
	ReasonUnreadable         = "Unreadable"
	ReasonNothingToChoose    = "NothingToChoose"
)

// perSubject is how many findings of one reason are listed of one object; the rest is counted.
const perSubject = 25

// verdict collects findings; the first reason of the worst status is the result's.
type verdict struct {
	status   signal.Status
	reason   string
	findings []run.Finding
	counts   map[[2]string]int
	order    [][2]string
}

func newVerdict() *verdict {
	return &verdict{status: signal.True, reason: ReasonVerified, counts: map[[2]string]int{}}
}

// room tells whether another finding of the kind is listed, and counts it.
func (v *verdict) room(subject, reason string) bool {
	k := [2]string{subject, reason}
	v.counts[k]++
	if v.counts[k] == perSubject+1 {
		v.order = append(v.order, k)
	}
	return v.counts[k] <= perSubject
}

// stop is a finding that the backup must not be restored with. status is False (it was read and is wrong) or Unknown.
func (v *verdict) stop(status signal.Status, reason, subject, means, format string, args ...any) {
	if v.status == signal.True || (v.status == signal.Unknown && status == signal.False) {
		v.status, v.reason = status, reason
	}
	if v.room(subject, reason) {
		v.findings = append(v.findings, run.Finding{Severity: run.Stop, Subject: subject, Problem: fmt.Sprintf(format, args...), Means: means})
	}
}

func (v *verdict) wrong(reason, subject, means, format string, args ...any) {
	v.stop(signal.False, reason, subject, means, format, args...)
}

func (v *verdict) warn(subject, means, format string, args ...any) {
	if v.room(subject, run.Warning+means) {
		v.findings = append(v.findings, run.Finding{Severity: run.Warning, Subject: subject, Problem: fmt.Sprintf(format, args...), Means: means})
	}
}

func (v *verdict) note(subject, means, format string, args ...any) {
	if v.room(subject, run.Note+means) {
		v.findings = append(v.findings, run.Finding{Severity: run.Note, Subject: subject, Problem: fmt.Sprintf(format, args...), Means: means})
	}
}

// unread is a store's error: the object is missing or wrong (False), or it is not known what it is (Unknown).
func (v *verdict) unread(subject, means string, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.wrong(ReasonObjectMissing, subject, means, "is missing")
	case errors.Is(err, objectstore.ErrLength), errors.Is(err, io.ErrUnexpectedEOF):
		v.wrong(ReasonLength, subject, means, "%v", err)
	case errors.Is(err, objectstore.ErrChanged):
		v.wrong(ReasonContent, subject, means, "%v", err)
	case errors.Is(err, fs.ErrPermission):
		v.stop(signal.Unknown, ReasonRefused, subject, "what it holds is not known: "+means, "reading it is refused: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		v.stop(signal.Unknown, ReasonUnreadable, subject, "what it holds is not known: "+means, "was not read in the time there was: %v", err)
	default:
		v.stop(signal.Unknown, ReasonUnreadable, subject, "what it holds is not known: "+means, "cannot be read: %v", err)
	}
}

// list returns the findings, those that stop first, with what was not listed counted.
func (v *verdict) list() []run.Finding {
	out := slices.Clone(v.findings)
	for _, k := range v.order {
		for _, f := range v.findings { // the first one of its kind tells severity and meaning
			if f.Subject == k[0] && (f.Severity == run.Stop || f.Severity+f.Means == k[1]) {
				out = append(out, run.Finding{Severity: f.Severity, Subject: k[0], Problem: fmt.Sprintf("and %d more of the kind %s", v.counts[k]-perSubject, kindName(k[1], f)), Means: f.Means})
				break
			}
		}
	}
	rank := map[string]int{run.Stop: 0, run.Warning: 1, run.Note: 2}
	slices.SortStableFunc(out, func(a, b run.Finding) int { return rank[a.Severity] - rank[b.Severity] })
	return out
}

func kindName(reason string, f run.Finding) string {
	if reason == f.Severity+f.Means {
		return f.Severity
	}
	return reason
}

// message is one sentence about the worst that was found.
func (v *verdict) message() string {
	stops := 0
	first := run.Finding{}
	for _, f := range v.findings {
		if f.Severity == run.Stop {
			if stops == 0 {
				first = f
			}
			stops++
		}
	}
	text := first.Subject + " " + first.Problem
	if stops > 1 {
		text += fmt.Sprintf(" (and %d more)", stops-1)
	}
	return text
}
