// Package telemetry counts runs in CloudWatch: one line in the embedded metric format a run, on the function's standard output, from which
// CloudWatch Logs takes the metrics (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
// No right and no request to CloudWatch is needed for it.
package telemetry

import (
	"encoding/json"
	"fmt"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Namespace is that of all metrics.
const Namespace = "FallbackChain"

// The dimensions: every metric has the sets [Plan] and [Plan, Mode].
const (
	Plan = "Plan"
	Mode = "Mode"
)

// The metrics. Runs counts the runs that wrote a report; each of them counts in one of the outcomes, or in none when it was an
// evaluation. A run that is redriven after its report and ends otherwise counts once more. RunsSkipped are not among Runs: they did nothing. The objectives come with what was measured against them.
const (
	Runs                = "Runs"
	RunsRecovered       = "RunsRecovered"
	RunsRolledBack      = "RunsRolledBack"
	RunsAborted         = "RunsAborted"
	RunsDirty           = "RunsDirty"
	RunsSkipped         = "RunsSkipped"
	RTOSeconds          = "RTOSeconds"
	RTOObjectiveSeconds = "RTOObjectiveSeconds"
	RPOSeconds          = "RPOSeconds"
	RPOObjectiveSeconds = "RPOObjectiveSeconds"
	Demotions           = "Demotions"
)

// Metrics lists every metric.
var Metrics = []string{Runs, RunsRecovered, RunsRolledBack, RunsAborted, RunsDirty, RunsSkipped, RTOSeconds, RTOObjectiveSeconds, RPOSeconds, RPOObjectiveSeconds, Demotions}

var outcomes = map[run.Outcome]string{run.Recovered: RunsRecovered, run.RolledBack: RunsRolledBack, run.Aborted: RunsAborted, run.Dirty: RunsDirty, run.Skipped: RunsSkipped}

// Run is what is counted of one run.
type Run struct {
	ID, Plan string
	Mode     run.Mode
	Outcome  run.Outcome
	// RTO and RPO are nil where nothing was measured.
	RTO, RPO *run.Verdict
	// Demotions is how many tiers were left downwards.
	Demotions int
	At        time.Time
}

type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

type metric struct{ Name, Unit string }

// Document is the run's line, without a line break. Besides the metrics it names the run and its outcome, which are no dimensions (each
// value of one is a metric of its own, and is paid for), and the level and time that Lambda's JSON log format looks for, so that no filter
// drops it: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html.
func (r Run) Document() ([]byte, error) {
	if r.Plan == "" || r.Mode == "" {
		return nil, fmt.Errorf("count run %s: plan %q, mode %q: expected both", r.ID, r.Plan, r.Mode)
	}
	d := directive{Namespace: Namespace, Dimensions: [][]string{{Plan}, {Plan, Mode}}}
	doc := map[string]any{"level": "INFO", "timestamp": r.At.UTC().Format(time.RFC3339Nano), "message": "run", Plan: r.Plan, Mode: string(r.Mode), "Run": r.ID, "Outcome": string(r.Outcome)}
	add := func(name, unit string, value any) {
		d.Metrics = append(d.Metrics, metric{name, unit})
		doc[name] = value
	}
	if r.Outcome != run.Skipped {
		add(Runs, "Count", 1)
		add(Demotions, "Count", r.Demotions)
	}
	if name, ok := outcomes[r.Outcome]; ok {
		add(name, "Count", 1)
	}
	for _, m := range []struct {
		v                   *run.Verdict
		measured, objective string
	}{{r.RTO, RTOSeconds, RTOObjectiveSeconds}, {r.RPO, RPOSeconds, RPOObjectiveSeconds}} {
		if m.v == nil {
			continue
		}
		add(m.measured, "Seconds", float64(m.v.MeasuredMS)/1000)
		if m.v.ObjectiveMS > 0 {
			add(m.objective, "Seconds", float64(m.v.ObjectiveMS)/1000)
		}
	}
	doc["_aws"] = map[string]any{"Timestamp": r.At.UnixMilli(), "CloudWatchMetrics": []directive{d}}
	return json.Marshal(doc)
}
