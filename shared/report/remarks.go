package report

import (
	"fmt"
	"slices"

	"fallbackchain.io/fallback/shared/run"
)

// NothingProved is what is said of a recovery whose gate asked nothing about the data.
const NothingProved = "Nothing proved the data: the gate had no row count, checksum, heartbeat or canary that passed. The database answers; whether its rows came back is unknown."

// MovementNotRun is said where volumes came back by Velero's data movement: what is known of our waiting for it.
const MovementNotRun = "Volumes came by data movement (DataDownload): that this is waited for correctly was tested with a stand-in that moves the objects' status; it was never run with Velero's node-agent and kopia."

// Unproved tells whether a run recovered without anything that proved the data.
func Unproved(outcome run.Outcome, g *run.Gate) bool {
	return outcome == run.Recovered && (g == nil || !g.DataProved)
}

// withoutLease says why a run did nothing that another run kept from the lease.
func withoutLease(r run.Run) []string {
	if l := r.Lease; l != nil && l.AcquiredAt == nil && l.Message != "" && r.Outcome != nil && r.Outcome.Name == run.Aborted {
		return []string{"The lease was not had: " + l.Message + "."}
	}
	return nil
}

// remarks are the first lines: what limits the verdict, what limits it most first.
func remarks(r Report) []string {
	var out []string
	add := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(Unproved(r.Outcome, r.Gate), "%s", NothingProved)
	q := r.Quarantine
	add(q != nil && (q.Level == "Applied" || (q.Level == "" && q.Wanted == "Applied")),
		"Quarantine level Applied: every NetworkPolicy was read back and their union opens nothing, but enforcement is unproven: no probe tried to get out.")
	degraded := slices.ContainsFunc(r.Tiers, func(t Tier) bool { return t.Name == "DegradedStatefulSet" && t.Phase == string(run.Succeeded) })
	add(degraded && r.Mode == run.Recover && r.Outcome == run.Recovered,
		"The workload runs degraded: one replica, with its placement and resources relaxed as the plan says.")
	add(r.FinishedBy != "", "The run's own process did not finish it; the %s did, from the journal.", r.FinishedBy)
	add(r.Outcome == run.Dirty,
		"Someone must look: not everything could be put back or verified. The workload's lease is kept until fallback resolve %s.", r.Run)
	if r.RTO != nil {
		add(r.RTO.Missed(), "The RTO objective of %s was missed: %s.", r.RTO.Objective, round(r.RTO.Measured))
	}
	if r.RPO != nil {
		add(r.RPO.Missed(), "The RPO objective of %s was missed: %s, %s.", r.RPO.Objective.Objective, round(r.RPO.Measured), r.RPO.What())
	}
	if g := r.Gate; g != nil {
		add(g.NotMeasured != "" && r.RPO != nil, "%s. The age of what was restored stands in for it.", g.NotMeasured)
		add(g.NotMeasured != "" && r.RPO == nil, "%s. How much was lost is not known.", g.NotMeasured)
	}
	out = append(out, aboutBackup(r)...)
	return out
}

// aboutBackup says what a reader must know of the restore point.
func aboutBackup(r Report) []string {
	var out []string
	if b := r.Backup; b != nil {
		switch {
		case b.Phase == run.Failed:
			out = append(out, "No backup verified: "+because(b.Reason, b.Message))
		case b.Integrity == "Unknown":
			out = append(out, fmt.Sprintf("The integrity of backup %s is Unknown: it reads as whole, but no signed manifest says that it is what was written.", b.Name))
		case b.Integrity == "False":
			out = append(out, fmt.Sprintf("Backup %s is not what its signed manifest says was written.", b.Name))
		}
		if n := b.PassedOver(); n > 0 {
			out = append(out, fmt.Sprintf("%s passed over before %s was taken, because %s did not verify.", count(n, "backup was", "backups were"), orNone(b.Name), map[bool]string{true: "it", false: "they"}[n == 1]))
		}
	}
	if h := r.Rehearsal; h != nil {
		if n := stops(h.Findings); n > 0 {
			out = append(out, fmt.Sprintf("The rehearsal found %s that would keep a restore from succeeding.", count(n, "thing", "things")))
		}
	}
	if s := r.Restore; s != nil && s.Velero != nil {
		v := s.Velero
		if v.Errors > 0 || v.HooksFailed > 0 {
			out = append(out, fmt.Sprintf("Velero's Restore ended %s with %s and %s.", orNone(v.Phase), count(v.Errors, "error", "errors"), count(v.HooksFailed, "failed hook", "failed hooks")))
		}
		if v.DataDownloads > 0 {
			out = append(out, MovementNotRun)
		}
		if v.DataDownloadsDone < v.DataDownloads {
			out = append(out, fmt.Sprintf("%d of %s were not done.", v.DataDownloads-v.DataDownloadsDone, count(v.DataDownloads, "awaited DataDownload", "awaited DataDownloads")))
		}
	}
	return out
}

func stops(fs []run.Finding) int {
	n := 0
	for _, f := range fs {
		if f.Severity == run.Stop {
			n++
		}
	}
	return n
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
