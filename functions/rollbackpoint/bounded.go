package rollbackpoint

import (
	"context"
	"fmt"
	"strings"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Bounds of the section's texts. Names beyond them are in the evidence.
const (
	listedClaims = 20
	noteRunes    = 1200
)

// named joins the first of a list of claims.
func named(claims []string) string { return strings.Join(run.Few(claims, listedClaims, 253), ", ") }

// bounded keeps the section under its limit whatever the number of claims: when its lists do not fit, all of them go to the run's
// evidence, and the section has its digest, the counts and the first few. Nothing is changed before the evidence was read back.
func bounded(ctx context.Context, s *step.Session, out run.RollbackPoint) (run.RollbackPoint, error) {
	out.Message = run.Short(out.Message, noteRunes)
	if run.Fits(out) {
		return out, nil
	}
	all := step.RollbackPointLists{Snapshots: out.Snapshots, Claims: out.Claims}
	e, err := s.Keep(ctx, step.RollbackPointFile, all)
	if err != nil {
		return out, err
	}
	out.Evidence, out.SnapshotCount, out.ClaimCount = e, len(all.Snapshots), len(all.Claims)
	note := fmt.Sprintf("%d claims and %d snapshots, all of them in %s", out.ClaimCount, out.SnapshotCount, e.URI)
	if out.Message != "" {
		note += "; " + out.Message
	}
	out.Message = run.Short(note, noteRunes)
	return first(out), nil
}

// first cuts the lists until the section fits.
func first(out run.RollbackPoint) run.RollbackPoint {
	for n := max(len(out.Claims), len(out.Snapshots)); n > 0 && !run.Fits(out); {
		n /= 2
		out.Claims, out.Snapshots = out.Claims[:min(n, len(out.Claims))], out.Snapshots[:min(n, len(out.Snapshots))]
	}
	return out
}
