package runner

import (
	"context"
	"path/filepath"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/history"
	"fallbackchain.io/fallback/statemachine/walk"
)

// visits reads a run's events as the report wants them: one visit a state, an Await's rounds together.
func (r *Runner) visits(_ context.Context, x run.Run) ([]report.Visit, error) {
	es, err := runstore.Events[walk.Event](filepath.Join(r.Store.Dir, x.ID))
	if err != nil {
		return nil, err
	}
	return history.Visits(es), nil
}
