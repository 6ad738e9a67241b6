package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// maxTries is how many backups are verified in search of one that is whole. maxNamed is how many of a kind that were passed over without
// that are named, each with its reason; the rest is counted.
const (
	maxTries = 5
	maxNamed = 5
)

// Choose finds and verifies the restore point: the named backup; or one that is not older than randomWithin, by the run's ID (the
// same ID and the same backups give the same one); or the latest. Of the last two, one that does not verify is passed over, and named;
// at most five are tried. One that Velero itself does not call Completed is passed over without a try, and the search for the latest ends
// at the first that is too old, for the others are older. schedule takes only the backups of that Velero Schedule, and only those count
// that include the expectation's namespace.
//
// When none verifies, the choice is the first that was tried, with its Stop findings; the newest where none is Completed. An error means
// that ctx ended or that the store could not be listed.
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
	err = c.search(ctx, s, candidates, exp)
	return c, err
}

// search verifies candidates in their order until one is whole.
func (c *Choice) search(ctx context.Context, s Store, candidates []listed, exp Expectation) error {
	var tried []Verified
	incomplete, untried := map[string]int{}, 0
	for i, l := range candidates {
		if l.Phase != PhaseCompleted {
			if n := sum(incomplete); n < maxNamed {
				c.passOver(l.Name, l.incomplete(ctx, s))
			}
			incomplete[l.Phase]++
			continue
		}
		if len(tried) == maxTries {
			untried = completed(candidates[i:])
			break
		}
		v, err := Verify(ctx, s, l.Name, exp)
		if err != nil || v.Status == signal.True {
			c.Verified = v
			c.count(incomplete, 0)
			return err
		}
		c.passOver(l.Name, v.Message)
		tried = append(tried, v)
		if c.How == ChosenLatest && exp.MaxAge > 0 && exp.Now.Sub(l.At()) > exp.MaxAge && !l.At().IsZero() {
			untried = completed(candidates[i+1:])
			break
		}
	}
	if len(tried) == 0 {
		v, err := Verify(ctx, s, candidates[0].Name, exp)
		if err != nil {
			c.Verified = v
			return err
		}
		tried = append(tried, v)
	}
	c.Verified = tried[0]
	c.count(incomplete, untried)
	c.PassedCount-- // the first that was tried is not passed over: it is the choice
	c.Passed = slices.DeleteFunc(c.Passed, func(p string) bool { return strings.HasPrefix(p, c.Name+": ") })
	return nil
}

func (c *Choice) passOver(name, why string) {
	c.Passed = append(c.Passed, name+": "+why)
	c.PassedCount++
}

// count tells of those that were not named: by phase, and how many nobody tried.
func (c *Choice) count(incomplete map[string]int, untried int) {
	if more := sum(incomplete) - maxNamed; more > 0 {
		c.PassedCount += more
		var phases []string
		for _, phase := range slices.Sorted(maps.Keys(incomplete)) {
			phases = append(phases, fmt.Sprintf("%d %q", incomplete[phase], phase))
		}
		c.Passed = append(c.Passed, fmt.Sprintf("and %d more that are not %s: in all %s", more, PhaseCompleted, strings.Join(phases, ", ")))
	}
	switch untried {
	case 0:
	case 1:
		c.Passed = append(c.Passed, "1 older one was not tried")
	default:
		c.Passed = append(c.Passed, fmt.Sprintf("%d older ones were not tried", untried))
	}
}

func sum(m map[string]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}

func completed(found []listed) int {
	n := 0
	for _, l := range found {
		if l.Phase == PhaseCompleted {
			n++
		}
	}
	return n
}

// incomplete says why a backup is not Completed, from what Velero wrote of it and no more.
func (l listed) incomplete(ctx context.Context, s Store) string {
	v := &verification{verdict: newVerdict(), ctx: ctx, store: s, name: l.Name, objects: l.objects, doc: l.doc, summary: l.Summary}
	v.stream(kindResults, zipped(v.results))
	v.verdict = newVerdict() // whether its results could be read is not what keeps it from being taken
	v.ended()
	return v.message()
}

// candidates are the backups that may be chosen, newest first. One whose metadata cannot be read might be the newest of them all: it
// is named among those passed over.
func (c *Choice) candidates(found []listed, schedule string, exp Expectation) []listed {
	var out []listed
	unread := 0
	for _, l := range found {
		switch {
		case l.doc == nil:
			if unread++; unread <= maxNamed {
				c.passOver(l.Name, l.findings[0].Subject+" "+l.findings[0].Problem)
			}
		case schedule != "" && l.Schedule != schedule:
		case exp.Namespace != "" && !includes(l.doc.Spec.IncludedNamespaces, l.doc.Spec.ExcludedNamespaces, exp.Namespace):
		default:
			out = append(out, l)
		}
	}
	if more := unread - maxNamed; more > 0 {
		c.PassedCount += more
		c.Passed = append(c.Passed, fmt.Sprintf("and %d more whose metadata cannot be read", more))
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
