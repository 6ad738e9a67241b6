package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// How a restore point was chosen.
const (
	ChosenLatest = "latest"
	ChosenNamed  = "named"
	ChosenRandom = "random"
)

// maxTries is how many backups are verified in search of one that is whole.
const maxTries = 5

// Choose finds and verifies the restore point: the named backup; or one that is not older than randomWithin, by the run's ID (the
// same ID and the same backups give the same one); or the latest. Of the last two, one that does not verify is passed over, and named;
// at most five are tried. schedule takes only the backups of that Velero Schedule, and only those count that include the
// expectation's namespace.
//
// When none verifies, the choice is the first that was tried, with its Stop findings. An error means that ctx ended or that the
// store could not be listed.
func Choose(ctx context.Context, s Store, at plan.RestorePoint, schedule, runID string, exp Expectation) (Choice, error) {
	if at.Backup != "" {
		v, err := Verify(ctx, s, at.Backup, exp)
		return Choice{Verified: v, How: ChosenNamed}, err
	}
	c := Choice{How: ChosenLatest}
	found, err := list(ctx, s)
	if err != nil {
		v := newVerdict()
		v.unread(backupsDir, "no restore point can be chosen", err)
		c.Verified = Verified{Status: v.status, Reason: v.reason, Message: v.message(), Integrity: signal.Unknown, Findings: v.list()}
		return c, err
	}
	candidates := c.candidates(found, schedule, exp)
	if within := at.RandomWithin.D(); within > 0 {
		c.How = ChosenRandom
		candidates = draw(candidates, within, exp.Now, runID)
	}
	if len(candidates) == 0 {
		c.Verified = nothing(at, schedule, exp)
		return c, nil
	}
	first := Choice{How: c.How}
	for i, l := range candidates {
		if i == maxTries {
			break
		}
		v, err := Verify(ctx, s, l.Name, exp)
		if err != nil || v.Status == signal.True {
			c.Verified = v
			return c, err
		}
		if i == 0 {
			first.Verified = v
		}
		c.Passed = append(c.Passed, fmt.Sprintf("%s: %s", l.Name, v.Message))
	}
	if n := len(candidates) - maxTries; n > 0 {
		c.Passed = append(c.Passed, fmt.Sprintf("%d older ones were not tried", n))
	}
	first.Passed = slices.DeleteFunc(c.Passed, func(p string) bool { return p == first.Name+": "+first.Message })
	return first, nil
}

// candidates are the backups that may be chosen, newest first. One whose metadata cannot be read might be the newest of them all: it
// is named among those passed over.
func (c *Choice) candidates(found []listed, schedule string, exp Expectation) []listed {
	var out []listed
	for _, l := range found {
		switch {
		case l.doc == nil:
			if len(c.Passed) < maxTries {
				c.Passed = append(c.Passed, fmt.Sprintf("%s: %s %s", l.Name, l.findings[0].Subject, l.findings[0].Problem))
			}
		case schedule != "" && l.Schedule != schedule:
		case exp.Namespace != "" && !includes(l.doc.Spec.IncludedNamespaces, l.doc.Spec.ExcludedNamespaces, exp.Namespace):
		default:
			out = append(out, l)
		}
	}
	return out
}

// draw orders the completed backups within the window by a hash of run and backup, so that each is equally likely to be the first, and
// that a backup which came or went changes nothing but itself.
func draw(found []listed, within time.Duration, now time.Time, runID string) []listed {
	in := slices.DeleteFunc(slices.Clone(found), func(l listed) bool {
		return l.Phase != PhaseCompleted || l.At().IsZero() || now.Sub(l.At()) > within
	})
	place := func(l listed) []byte {
		sum := sha256.Sum256([]byte(runID + "\x00" + l.Name))
		return sum[:]
	}
	slices.SortFunc(in, func(a, b listed) int { return bytes.Compare(place(a), place(b)) })
	return in
}

// nothing is the verdict when there is no backup to verify.
func nothing(at plan.RestorePoint, schedule string, exp Expectation) Verified {
	what := "no backup"
	if at.RandomWithin > 0 {
		what = "no completed backup of the last " + at.RandomWithin.D().String()
	}
	if schedule != "" {
		what += " of the Schedule " + schedule
	}
	if exp.Namespace != "" {
		what += " that includes the namespace " + exp.Namespace
	}
	f := run.Finding{Severity: run.Stop, Subject: backupsDir, Problem: "there is " + what, Means: "there is nothing to restore"}
	return Verified{Status: signal.False, Reason: ReasonNothingToChoose, Message: f.Problem, Integrity: signal.Unknown, Findings: []run.Finding{f}}
}
