package report

import (
	"encoding/json"
	"strings"
	"text/template"
	"time"
)

// JSON is the report for machines.
func (r Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// round makes a duration readable: milliseconds below ten seconds, tenths above.
func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

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

var functions = template.FuncMap{
	"cell": cell, "stamp": stamp, "round": round, "signals": SignalRows,
	"join": func(s []string) string { return strings.Join(s, "; ") }, "because": because,
}

var markdown = template.Must(template.New("report.md").Funcs(functions).Parse(`# {{.Outcome}}: {{.Mode}} of {{.Plan.Name}}
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
{{with .RTO}}| RTO | {{round .Measured}}{{if .Objective}} of {{.Objective}} ({{if .Missed}}missed{{else}}met{{end}}){{end}} |
{{end}}{{with .Quarantine}}| Quarantine | {{.Phase}}, level {{if .Level}}{{.Level}}{{else}}none{{end}} of {{.Wanted}} wanted |
{{end}}
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

| Pod | Check | Expected | Got | |
|---|---|---|---|---|
{{range .Checks}}| {{.Pod}} | {{cell .Name}} | {{cell .Expected}} | {{cell .Got}} | {{if .OK}}ok{{else}}**no**{{end}} |
{{end}}{{end}}{{end}}{{with .Restore}}
## Restored

{{.Objects}} objects into {{.Namespace}}.{{range .Claims}}
- claim {{.Claim}} from snapshot {{.Namespace}}/{{.Name}} of {{stamp .TakenAt}}{{end}}{{range .LeftOut}}
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
{{end}}{{end}}{{define "undo"}}{{if .Message}}
{{.Message}}
{{end}}{{range .DataRestored}}
- data back: {{.}}{{end}}{{range .PutBack}}
- put back: {{.}}{{end}}{{range .Left}}
- **left:** {{.}}{{end}}
{{end}}`))

// Markdown is the report for people and tickets.
func (r Report) Markdown() ([]byte, error) {
	var b strings.Builder
	if err := markdown.Execute(&b, r); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
