package backupcmd

import (
	"context"
	"fmt"
	"text/tabwriter"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// What was done with one backup.
const (
	didSeal      = "sealed"
	didRefuse    = "refused"    // it does not verify
	didNotYet    = "not yet"    // Velero is still writing it
	didNotSeal   = "not sealed" // it ended as something else than Completed
	didNotRead   = "unreadable"
	didNotFinish = "failed"
)

// done is one line of seal --all.
type done struct {
	Backup string `json:"backup"`
	Did    string `json:"did"`
	Why    string `json:"why,omitempty"`
	// Verdict is that of a backup that was read.
	Verdict *backup.Verified `json:"verdict,omitempty"`
}

// sealAll seals every completed backup of the plan that has no signed manifest. One that cannot be sealed does not keep the others from it.
func (f *common) sealAll(ctx context.Context) error {
	p, v, err := f.plan()
	if err != nil {
		return err
	}
	s, err := f.sealer(ctx, p)
	if err != nil {
		return err
	}
	found, broken, err := backup.Unsealed(ctx, s.store, v.Schedule, p.Spec.Workload.Namespace, f.edges.Now())
	if err != nil {
		return err
	}
	list := make([]done, 0, len(found)+len(broken))
	for _, b := range found {
		list = append(list, s.one(ctx, b))
	}
	for _, x := range broken {
		list = append(list, done{Backup: x.Subject, Did: didNotRead, Why: x.Problem})
	}
	if err := f.printDone(v.Location, list); err != nil {
		return err
	}
	count := map[string]int{}
	for _, d := range list {
		count[d.Did]++
	}
	if n := count[didNotRead] + count[didNotFinish]; n > 0 {
		return fmt.Errorf("of %d backups that are not sealed, %d could not be read or sealed", len(list), n)
	}
	if n := count[didRefuse]; n > 0 {
		return notVerified{fmt.Sprintf("%d completed backups were not sealed: they do not verify", n)}
	}
	return nil
}

// one seals a backup, or says why not.
func (s *sealer) one(ctx context.Context, b backup.Progress) done {
	switch b.Stage {
	case backup.StageCompleted:
	case backup.StageRewriting:
		return done{Backup: b.Name, Did: didNotYet, Why: "it is Completed, and Velero may not have written its tarball again yet"}
	case backup.StageEnded:
		return done{Backup: b.Name, Did: didNotSeal, Why: "it ended in phase " + b.Phase}
	default:
		return done{Backup: b.Name, Did: didNotYet, Why: "it is in phase " + or(b.Phase, "(none)")}
	}
	verdict, err := s.seal(ctx, b.Name)
	switch {
	case err != nil:
		return done{Backup: b.Name, Did: didNotFinish, Why: err.Error()}
	case verdict.Status == signal.False:
		return done{Backup: b.Name, Did: didRefuse, Why: verdict.Reason + ": " + foremost(verdict), Verdict: &verdict}
	case verdict.Status != signal.True:
		return done{Backup: b.Name, Did: didNotRead, Why: verdict.Message, Verdict: &verdict}
	}
	return done{Backup: b.Name, Did: didSeal, Why: verdict.Message, Verdict: &verdict}
}

// foremost is the first finding that stops a restore.
func foremost(v backup.Verified) string {
	for _, x := range run.Pressing(v.Findings) {
		return x.Subject + " " + x.Problem
	}
	return v.Message
}

func (f *common) printDone(location string, list []done) error {
	if f.output == "json" {
		return writeJSON(f.out, struct {
			Location string `json:"location"`
			Backups  []done `json:"backups"`
		}{location, list})
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(f.out, "%s: every backup of the plan is sealed\n", location)
		return err
	}
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKUP\tDID\tWHY")
	for _, d := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", d.Backup, d.Did, line(d.Why))
	}
	return w.Flush()
}
