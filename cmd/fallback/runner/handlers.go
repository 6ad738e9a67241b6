package runner

import (
	"context"

	"fallbackchain.io/fallback/functions/admit"
	"fallbackchain.io/fallback/functions/assess"
	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/functions/controlplane"
	"fallbackchain.io/fallback/functions/degraded"
	"fallbackchain.io/fallback/functions/gate"
	leasestep "fallbackchain.io/fallback/functions/lease"
	"fallbackchain.io/fallback/functions/quarantine"
	reportstep "fallbackchain.io/fallback/functions/report"
	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/functions/rollback"
	"fallbackchain.io/fallback/functions/rollbackpoint"
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/shared/awsedge/secrets"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/statemachine/walk"
)

func leaseGuard(c *cluster.Client, p *plan.Plan, runID string) change.Guard {
	w := p.Spec.Workload
	return lease.NewGuard(c, lease.Name(w.Namespace, w.StatefulSet), runID)
}

// steps are the handlers of every function in the graph, the same that the Lambda functions wrap. as says how each reaches the cluster.
func (r *Runner) steps(k keeper, as func(function string) connect) map[string]walk.Handler {
	env := func(function string) *step.Env {
		e := new(*r.env)
		e.Journals = keptJournals{r.env.Journals, k.rec}
		e.Connect = as(function)
		return e
	}
	ad := &admit.Handler{Plans: admit.ReadFunc(func(_ context.Context, uri string) ([]byte, error) { return plan.Read(uri) }), Now: r.Now}
	return map[string]walk.Handler{
		"admit":         walk.Adapt(ad.Handle),
		"assess":        walk.Adapt((&assess.Handler{Env: env("assess")}).Handle),
		"lease":         walk.Adapt((&leasestep.Handler{Env: env("lease"), HolderDead: r.holderDead}).Handle),
		"rollbackpoint": walk.Adapt((&rollbackpoint.Handler{Env: env("rollbackpoint")}).Handle),
		"quarantine":    walk.Adapt((&quarantine.Handler{Env: env("quarantine")}).Handle),
		"restore":       walk.Adapt((&restore.Handler{Env: env("restore")}).Handle),
		"volumesync":    walk.Adapt((&volumesync.Handler{Env: env("volumesync")}).Handle),
		"controlplane":  walk.Adapt((&controlplane.Handler{Env: env("controlplane")}).Handle),
		"degraded":      walk.Adapt((&degraded.Handler{Env: env("degraded")}).Handle),
		"backup":        walk.Adapt((&backupstep.Handler{Env: env("backup")}).Handle),
		"gate":          walk.Adapt((&gate.Handler{Env: env("gate"), Secrets: secrets.Default()}).Handle),
		"rollback":      walk.Adapt((&rollback.Handler{Env: env("rollback")}).Handle),
		"teardown":      walk.Adapt((&teardown.Handler{Env: env("teardown")}).Handle),
		"report":        walk.Adapt((&reportstep.Handler{Env: env("report"), Store: report.Directory{Dir: r.Store.Dir}, Visits: r.visits}).Handle),
	}
}

// holderDead tells whether a run of this machine has no process any more. A run that this machine does not know may be alive
// elsewhere.
func (r *Runner) holderDead(_ context.Context, holder string) bool {
	s, err := r.Store.Load(holder)
	return err == nil && !s.Alive
}
