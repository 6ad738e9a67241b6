package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/report/render"
	"fallbackchain.io/fallback/shared/run"
)

// JSON is the report for machines.
func (r Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// round makes a duration readable: milliseconds below ten seconds, tenths above, seconds from ten minutes on.
func round(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond)
	case d < 10*time.Minute:
		return d.Round(100 * time.Millisecond)
	default:
		return d.Round(time.Second)
	}
}

// size makes a number of bytes readable.
func size(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), -1
	for f >= step && unit < len(units)-1 {
		f /= step
		unit++
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

var units = []string{"KiB", "MiB", "GiB", "TiB"}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	const most = 300
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// cell makes text safe inside a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(firstLine(s))
}

// because is a reason with its message, either of which may be missing.
func because(reason, message string) string {
	if reason != "" && message != "" {
		return reason + ": " + message
	}
	return reason + message
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// functions are those of both templates, which call no methods (see render).
var functions = map[string]any{
	"cell": cell, "stamp": stamp, "round": round, "signals": SignalRows,
	"join": func(s []string) string { return strings.Join(s, "; ") }, "because": because, "size": size,
	"bar": func(w Waterfall, s Segment) string { return w.bar(s) }, "chosen": chosen, "orNone": orNone, "count": count,
	"integrity": integrity, "missed": func(met *bool) bool { return met != nil && !*met }, "what": func(p RPO) string { return p.What() },
	"snapshot": func(s run.Snapshot) string { return s.Title() },
	"sub":      func(t, from time.Time) time.Duration { return t.Sub(from) }, "label": func(s Segment) string { return s.Label() },
}

// integrity says why it is what it is.
func integrity(status string) string {
	switch status {
	case "True":
		return "True: every object is what the signed manifest says was written"
	case "False":
		return "False: the objects are not what the signed manifest says was written"
	default:
		return "Unknown: no signed manifest could be compared"
	}
}

// chosen says how the restore point was found.
func chosen(how string) string {
	switch how {
	case "latest":
		return "the latest that verifies"
	case "named":
		return "named by the plan"
	case "random":
		return "drawn at random, by the run's ID"
	default:
		return how
	}
}

const markdownText = `# {{.Outcome}}: {{.Mode}} of {{.Plan.Name}}
{{range .Remarks}}
> **{{.}}**
{{end}}
| | |
|---|---|
| Run | {{.Run}} |
| Trigger | {{.Trigger.Kind}}{{if .Trigger.Requester}} by {{cell .Trigger.Requester}}{{end}}, {{stamp .Trigger.At}} |
| Started | {{stamp .StartedAt}} |
| Report written | {{stamp .WrittenAt}} |
| Namespace | {{if .Namespace}}{{.Namespace}}{{else}}-{{end}} |
| Plan | {{.Plan.Digest}} |
{{with .RTO}}| RTO | {{round .Measured}}{{if .Objective}} of {{.Objective}} ({{if missed .Met}}missed{{else}}met{{end}}){{end}} |
{{end}}{{with .RPO}}| RPO | {{round .Measured}}{{if .Objective.Objective}} of {{.Objective.Objective}} ({{if missed .Met}}missed{{else}}met{{end}}){{end}}: {{cell (what .)}}, {{stamp .At}} |
{{end}}{{with .Backup}}| Backup | {{if .Name}}{{cell .Name}}, integrity {{orNone .Integrity}}{{else}}{{.Phase}}{{end}} |
{{end}}{{with .Quarantine}}| Quarantine | {{.Phase}}, level {{if .Level}}{{.Level}}{{else}}none{{end}} of {{.Wanted}} wanted |
{{end}}{{with .Waterfall}}
## Where the time went

| Part | Began | Took | |
|---|---:|---:|---|
{{$w := .}}{{range .Segments}}| {{label .}} | +{{round (sub .StartedAt $w.From)}} | {{round .Duration}} | {{bar $w .}} |
{{end}}| **RTO** | | **{{round .Total}}** | |
{{range .Notes}}
{{.}}
{{end}}{{end}}
## Path

| Part | Status | Took | Why |
|---|---|---:|---|
{{range .Steps}}| {{.Name}} | {{.Status}} | {{round .Duration}} | {{cell .Reason}} |
{{end}}
## Tiers

| Tier | | Reason | Found | Done |
|---|---|---|---|---|
{{range .Tiers}}| {{.Name}} | {{.Phase}} | {{cell (because .Reason .Message)}} | {{cell (join .Found)}} | {{cell (join .Done)}} |
{{end}}{{with .Gate}}
## Gate: {{.Phase}}
{{if .Message}}
{{because .Reason .Message}}
{{end}}{{if .Checks}}
{{.Server}}, read-only transaction.

| Pod | Check | Kind | Expected | Got | |
|---|---|---|---|---|---|
{{range .Checks}}| {{.Pod}} | {{cell .Name}} | {{.Kind}} | {{cell .Expected}} | {{cell .Got}} | {{if .OK}}ok{{else}}**no**{{end}} |
{{end}}{{end}}{{end}}{{with .Backup}}
## Backup: {{.Phase}}
{{if .Message}}
{{because .Reason .Message}}
{{end}}{{if .Name}}
| | |
|---|---|
| Name | {{cell .Name}}, {{chosen .Chosen}} |
| Where | {{cell .Location}} |
{{with .StartedAt}}| Started | {{stamp .}} |
{{end}}{{with .CompletedAt}}| Completed | {{stamp .}} |
{{end}}| Integrity | {{integrity .Integrity}} |
| Holds | {{count .Objects "object" "objects"}}, {{size .Bytes}}, {{count .VolumeCount "volume" "volumes"}}{{if .Moved}} ({{.Moved}} with their data in the bucket){{end}} |
| Listing | {{.Listing}} |
{{end}}{{range .Passed}}
- passed over: {{cell .}}{{end}}
{{template "findings" .Findings}}{{if .Volumes}}
| Volume | Method | Driver | Size |
|---|---|---|---|
{{range .Volumes}}| {{cell .Namespace}}/{{cell .Claim}} | {{cell .Method}} | {{cell .Driver}} | {{.Size}} |
{{end}}{{end}}{{end}}{{with .Rehearsal}}
## Rehearsal: {{.Phase}}
{{if .Message}}
{{because .Reason .Message}}
{{end}}{{if .Asked}}
The API server was asked about {{.Asked}} objects by its own dry run{{with .AskedIn}}, in {{.}}{{end}}.
{{end}}{{template "findings" .Findings}}{{end}}{{with .Restore}}
## Restored

{{.Objects}} objects into {{.Namespace}}.{{with .Velero}}
{{template "velero" .}}{{end}}{{range .Claims}}
- claim {{.Claim}} from snapshot {{cell (snapshot .)}} of {{stamp .TakenAt}}{{end}}{{range .LeftOut}}
- left out: {{.}}{{end}}
{{end}}{{with .Rollback}}
## Rollback: {{.Phase}}
{{template "undo" .}}{{end}}{{with .Teardown}}
## Teardown: {{.Phase}}
{{template "undo" .}}{{end}}
## Signals

| Signal | Status | Reason | |
|---|---|---|---|
{{range signals .Signals}}| {{.Name}} | {{.Status}} | {{.Reason}} | {{cell .Message}} |
{{end}}
## Changes

{{if .Changes}}| # | When | State | Change | Why | Result | Put back |
|---:|---|---|---|---|---|---|
{{range .Changes}}| {{.Seq}} | {{stamp .At}} | {{.State}} | {{.Verb}} {{.Object}} | {{cell .Why}} | {{.Result}}{{if .Error}}: {{cell .Error}}{{end}} | {{.PutBack}}{{if .Note}}: {{cell .Note}}{{end}} |
{{end}}{{else}}Nothing was changed.
{{end}}
## States

| State | At | Took | Left by |
|---|---|---:|---|
{{range .Steps}}{{range .Visits}}| {{.State}} | {{stamp .StartedAt}} | {{round .Duration}} | {{cell .Reason}}{{if gt .Rounds 1}}, {{.Rounds}} rounds{{end}}{{if .Retries}}, {{.Retries}} retries{{end}}{{if .Cause}}: {{cell .Cause}}{{end}} |
{{end}}{{end}}{{define "findings"}}{{if .}}
| | Object | Found | Which means |
|---|---|---|---|
{{range .}}| {{if eq .Severity "Stop"}}**Stop**{{else}}{{.Severity}}{{end}} | {{cell .Subject}} | {{cell .Problem}} | {{cell .Means}} |
{{end}}{{end}}{{end}}{{define "velero"}}
Velero's Restore {{.Name}} of backup {{.Backup}}: {{orNone .Phase}}, {{count .ItemsRestored "item" "items"}} of {{.TotalItems}}, {{count .Warnings "warning" "warnings"}}, {{count .Errors "error" "errors"}}, {{count .HooksFailed "failed hook" "failed hooks"}}.{{if .DataDownloads}} Awaited {{count .DataDownloads "DataDownload" "DataDownloads"}}, {{.DataDownloadsDone}} done.{{end}}
{{range .Items}}
- {{cell .}}{{end}}{{if .Evidence}}
- all {{.ItemCount}}: {{.Evidence.URI}} ({{.Evidence.Digest}}){{end}}
{{end}}{{define "undo"}}{{if .Message}}
{{.Message}}
{{end}}{{range .DataRestored}}
- data back: {{.}}{{end}}{{range .PutBack}}
- put back: {{.}}{{end}}{{range .Left}}
- **left:** {{.}}{{end}}
{{end}}`

// Markdown is the report for people and tickets.
func (r Report) Markdown() ([]byte, error) {
	return r.execute("report.md", markdownText, functions, nil)
}

func (r Report) execute(name, text string, functions map[string]any, escape func(string) string) ([]byte, error) {
	t, err := render.Parse(name, text, functions, escape)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
