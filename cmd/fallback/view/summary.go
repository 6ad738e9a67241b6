package view

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
)

// Summary prints how a run ended: verdict, path through the tiers, gate, and where the report is.
func Summary(w io.Writer, dir string, r run.Run, terminal, errName, cause, dryRunEndedBefore string) {
	fmt.Fprintf(w, "\nRun      %s (%s of plan %s)\n", r.ID, r.Mode, r.Plan.Name)
	if dryRunEndedBefore != "" {
		fmt.Fprintf(w, "Verdict  dry run: nothing was changed; it ends before %s, which waits for what was not done\n", dryRunEndedBefore)
		return
	}
	fmt.Fprintf(w, "Verdict  %s", terminal)
	if errName != "" && errName != terminal {
		fmt.Fprintf(w, " (%s)", errName)
	}
	if cause != "" {
		fmt.Fprintf(w, ": %s", firstLine(cause))
	}
	if r.Outcome != nil && report.Unproved(r.Outcome.Name, r.Gate) {
		fmt.Fprint(w, ", but nothing proved the data: no row count, checksum, heartbeat or canary passed")
	}
	fmt.Fprintln(w)
	if b := r.Backup; b != nil && b.Name != "" {
		fmt.Fprintf(w, "Backup   %s, integrity %s\n", b.Name, orUnknown(b.Integrity))
	}
	if p := Path(r); p != "" {
		fmt.Fprintf(w, "Path     %s\n", p)
	}
	if g := r.Gate; g != nil && len(g.Checks) > 0 {
		ok := 0
		for _, c := range g.Checks {
			if c.OK {
				ok++
			}
		}
		fmt.Fprintf(w, "Gate     %s: %d of %d checks passed in a read-only transaction (%s)\n", g.Phase, ok, len(g.Checks), g.Server)
		for _, c := range g.Checks {
			if !c.OK {
				fmt.Fprintf(w, "         %s on %s: expected %s, got %s\n", c.Name, c.Pod, c.Expected, c.Got)
			}
		}
	}
	for _, l := range objectives(r) {
		fmt.Fprintln(w, l)
	}
	for _, u := range []*run.Undo{r.Rollback, r.Teardown} {
		if u != nil && len(u.Left) > 0 {
			fmt.Fprintf(w, "Left     %s\n", strings.Join(u.Left, "\n         "))
		}
	}
	for _, n := range Remarks(r) {
		fmt.Fprintf(w, "Note     %s\n", n)
	}
	if r.Report != nil {
		fmt.Fprintf(w, "Report   %s\n", r.Report.HTML)
	} else {
		fmt.Fprintf(w, "State    %s\n", filepath.Join(dir, r.ID))
	}
}

// objectives are the RTO and the RPO, a line each. The report's section has them against the plan's objectives; without it (the
// report could not be written) they are what the run itself shows.
func objectives(r run.Run) []string {
	rto, rpo := report.Build(report.Input{Run: r}).Verdicts()
	if r.Report != nil {
		if r.Report.RTO != nil {
			rto = r.Report.RTO
		}
		if r.Report.RPO != nil {
			rpo = r.Report.RPO
		}
	}
	var out []string
	for _, v := range []struct {
		name string
		*run.Verdict
	}{{"RTO", rto}, {"RPO", rpo}} {
		if v.Verdict == nil {
			continue
		}
		line := fmt.Sprintf("%-8s %s %s", v.name, short(milliseconds(v.MeasuredMS)), v.From)
		if v.Met != nil {
			line += fmt.Sprintf("; objective %s: %s", milliseconds(v.ObjectiveMS), map[bool]string{true: "met", false: "missed"}[*v.Met])
		}
		out = append(out, line)
	}
	return out
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func orUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}

// Path is the way through the tiers in one line, with the reason of each demotion.
func Path(r run.Run) string {
	var parts []string
	for _, t := range []struct {
		name    string
		section *run.Tier
	}{{"VolumeAttachmentSync", r.VolumeSync}, {"ControlPlaneReconcile", r.ControlPlane}, {"DegradedStatefulSet", r.Degraded}} {
		d, demoted := r.Demotions[t.name]
		switch {
		case demoted && d.Fault != nil:
			parts = append(parts, fmt.Sprintf("%s ✗ %s", t.name, d.Fault.Error))
		case t.section != nil && t.section.Phase == run.Failed:
			parts = append(parts, fmt.Sprintf("%s ✗ %s", t.name, t.section.Reason))
		case t.section != nil && t.section.Phase == run.Succeeded:
			parts = append(parts, fmt.Sprintf("%s ✓", t.name))
		case t.section != nil:
			parts = append(parts, fmt.Sprintf("%s ✗ cut off", t.name))
		}
	}
	if g := r.Gate; g != nil {
		parts = append(parts, "gate "+string(g.Phase))
	}
	if r.Rollback != nil {
		parts = append(parts, "rollback "+string(r.Rollback.Phase))
	}
	if r.Teardown != nil {
		parts = append(parts, "teardown "+string(r.Teardown.Phase))
	}
	return strings.Join(parts, " → ")
}

// Remarks are what limits the verdict, and why a run did not get further.
func Remarks(r run.Run) []string {
	var out []string
	if q := r.Quarantine; q != nil && q.Level == "Applied" {
		out = append(out, "quarantine level Applied: the policies were read back; their enforcement is unproven")
	}
	if r.Mode == run.Recover && r.Degraded != nil && r.Degraded.Phase == run.Succeeded && r.Outcome != nil && r.Outcome.Name == run.Recovered {
		out = append(out, "the workload runs degraded: one replica, relaxed as the plan says")
	}
	if b := r.Backup; b != nil && b.Phase == run.Failed {
		out = append(out, firstLine("no backup verified: "+b.Reason+" "+b.Message))
	}
	if b := r.Backup; b != nil && b.PassedOver() > 0 {
		out = append(out, fmt.Sprintf("backups that did not verify were passed over: %d", b.PassedOver()))
	}
	for _, f := range stops(r) {
		out = append(out, firstLine(fmt.Sprintf("would stop a restore: %s: %s", f.Subject, f.Problem)))
	}
	if l := r.Lease; l != nil && l.Holder != "" && l.Holder != r.ID {
		out = append(out, firstLine("the workload's lease was not to be had: "+l.Message))
	}
	for section, f := range r.Faults {
		out = append(out, firstLine(fmt.Sprintf("%s: %s %s", section, f.Error, f.Cause)))
	}
	slices.Sort(out)
	return out
}

// stops are the findings that a restore would not survive.
func stops(r run.Run) []run.Finding {
	var all, out []run.Finding
	if r.Backup != nil {
		all = append(all, r.Backup.Findings...)
	}
	if r.Rehearsal != nil {
		all = append(all, r.Rehearsal.Findings...)
	}
	for _, f := range all {
		if f.Severity == run.Stop {
			out = append(out, f)
		}
	}
	return out
}
