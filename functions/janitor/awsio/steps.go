package awsio

import (
	"context"

	"fallbackchain.io/fallback/functions/lease"
	"fallbackchain.io/fallback/functions/quarantine"
	reportstep "fallbackchain.io/fallback/functions/report"
	"fallbackchain.io/fallback/functions/rollback"
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/telemetry"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Steps makes the handlers of the functions that a dead run can still need, the same that their Lambda functions wrap. The
// others cannot be reached from where the janitor takes a run up, so the janitor needs none of their rights. count counts the run, unless
// it was counted before it died.
func Steps(env *step.Env, store report.Store, count func(context.Context, telemetry.Run) error) func(VisitsFunc) map[string]walk.Handler {
	return func(visits VisitsFunc) map[string]walk.Handler {
		return map[string]walk.Handler{
			"lease":      walk.Adapt((&lease.Handler{Env: env}).Handle),
			"quarantine": walk.Adapt((&quarantine.Handler{Env: env}).Handle),
			"rollback":   walk.Adapt((&rollback.Handler{Env: env}).Handle),
			"teardown":   walk.Adapt((&teardown.Handler{Env: env}).Handle),
			"report":     walk.Adapt((&reportstep.Handler{Env: env, Store: store, Visits: visits, Count: count}).Handle),
		}
	}
}
