package lease

import (
	"context"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
)

// NewGuard returns the check that a run makes before every change: it reads the lease again, each time, and says LeaseLost
// when the holder is not this run or when another run has marked the lease. A lease that cannot be read is Unavailable, and
// the change is not made either.
func NewGuard(c *cluster.Client, name, runID string) change.Guard {
	return &guard{client: c, name: name, run: runID}
}

type guard struct {
	client    *cluster.Client
	name, run string
}

func (g *guard) Check(ctx context.Context) error {
	s, err := Holder(ctx, g.client, g.name)
	if err != nil {
		return err
	}
	op := "check Lease " + Namespace + "/" + g.name
	switch {
	case !s.Exists:
		return fault.Newf(fault.LeaseLost, op, "it does not exist; expected holder %s", g.run)
	case s.Holder != g.run:
		return fault.Newf(fault.LeaseLost, op, "its holder is %q; expected %s", s.Holder, g.run)
	case s.PreemptedBy != "" && s.PreemptedBy != g.run:
		return fault.Newf(fault.LeaseLost, op, "run %s is taking it over", s.PreemptedBy)
	}
	return nil
}
