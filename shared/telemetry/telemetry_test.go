package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"fallbackchain.io/fallback/shared/run"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)

// TestDocument: each document is what is committed, valid by the specification's schema, and holds what its directive refers to.
func TestDocument(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata", "emf.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, r := range map[string]Run{
		"recovered": {ID: "shop-drill-20261120020000-9f3c", Plan: "shop", Mode: run.Drill, Outcome: run.Recovered, At: at, Demotions: 1,
			RTO: &run.Verdict{MeasuredMS: 31_250, ObjectiveMS: 900_000}, RPO: &run.Verdict{MeasuredMS: 2000}},
		"rolledback": {ID: "r", Plan: "shop", Mode: run.Recover, Outcome: run.RolledBack, At: at, RPO: &run.Verdict{MeasuredMS: 1, ObjectiveMS: 60_000}},
		"aborted":    {ID: "r", Plan: "shop", Mode: run.Recover, Outcome: run.Aborted, At: at},
		"dirty":      {ID: "r", Plan: "shop", Mode: run.Recover, Outcome: run.Dirty, At: at, Demotions: 2},
		"evaluated":  {ID: "r", Plan: "shop", Mode: run.Evaluate, Outcome: run.Evaluated, At: at},
		"skipped":    {ID: "r", Plan: "shop", Mode: run.Recover, Outcome: run.Skipped, At: at},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Document()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
				t.Error(d)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Error(err)
			}
			for _, m := range references(t, got) {
				used[m] = true
				if !slices.Contains(Metrics, m) {
					t.Errorf("metric %s is not in Metrics", m)
				}
			}
		})
	}
	for _, m := range Metrics {
		if !used[m] {
			t.Errorf("nothing writes the metric %s", m)
		}
	}
}

// references checks the target members, which no schema can: a dimension's value is a text, a metric's a number.
func references(t *testing.T, doc []byte) (metrics []string) {
	t.Helper()
	var d struct {
		AWS struct {
			CloudWatchMetrics []directive
		} `json:"_aws"`
	}
	var root map[string]any
	if err := errors.Join(json.Unmarshal(doc, &d), json.Unmarshal(doc, &root)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range d.AWS.CloudWatchMetrics {
		for _, set := range dir.Dimensions {
			for _, name := range set {
				if v, ok := root[name].(string); !ok || v == "" {
					t.Errorf("dimension %s is %v", name, root[name])
				}
			}
		}
		for _, m := range dir.Metrics {
			metrics = append(metrics, m.Name)
			if _, ok := root[m.Name].(float64); !ok {
				t.Errorf("metric %s is %v", m.Name, root[m.Name])
			}
		}
	}
	return metrics
}

func TestNoPlanNoDocument(t *testing.T) {
	for _, r := range []Run{{Mode: run.Drill}, {Plan: "shop"}} {
		if b, err := r.Document(); err == nil {
			t.Errorf("%+v is counted: %s", r, b)
		}
	}
}

// claims is a memory of claims that fails when told to.
type claims struct {
	taken map[string]string
	err   error
}

func (c *claims) Take(_ context.Context, runID, name string, doc []byte) (bool, error) {
	if c.err != nil {
		return false, c.err
	}
	k := runID + "/" + name
	if _, ok := c.taken[k]; !ok {
		c.taken[k] = string(doc)
	}
	return c.taken[k] == string(doc), nil
}

// TestOnce: however often a run is reported, it is counted once an outcome, by whoever comes first.
func TestOnce(t *testing.T) {
	c := &claims{taken: map[string]string{}}
	var out bytes.Buffer
	o := Once{Claims: c, Out: &out}
	r := Run{ID: "a", Plan: "shop", Mode: run.Drill, Outcome: run.Recovered, At: at}
	c.err = errors.New("away")
	if err := o.Count(t.Context(), r); err == nil || out.Len() > 0 {
		t.Errorf("without a claim: %v, wrote %s", err, out.String())
	}
	c.err = nil
	for i := range 3 {
		r.At = at.Add(time.Duration(i) * time.Second)
		if err := o.Count(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	other := r
	other.ID, other.Outcome = "b", run.Dirty
	if err := o.Count(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	// The first run is redriven, and ends Dirty.
	r.Outcome = run.Dirty
	for range 2 {
		r.At = r.At.Add(time.Second)
		if err := o.Count(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || lines[0] != c.taken["a/metrics-Recovered.json"] || !strings.Contains(lines[1], `"RunsDirty":1`) || lines[2] != c.taken["a/metrics-Dirty.json"] {
		t.Errorf("wrote %q", lines)
	}
}

func TestSkips(t *testing.T) {
	for _, tc := range []struct {
		name, payload string
		section       run.Admit
		err           error
		counted       bool
	}{
		{"skipped", `{"op":"admit","run":{"id":"a","mode":"drill","plan":{"name":"shop"}}}`, run.Admit{Phase: run.NotAdmitted}, nil, true},
		{"admitted", `{"op":"admit","run":{"id":"a","mode":"drill","plan":{"name":"shop"}}}`, run.Admit{Phase: run.Admitted}, nil, false},
		{"failed", `{"op":"admit"}`, run.Admit{}, errors.New("no"), false},
		{"of no plan", `{"op":"admit","run":{}}`, run.Admit{Phase: run.NotAdmitted}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			h := Skips(&out, func() time.Time { return at }, func(context.Context, json.RawMessage) (run.Admit, error) { return tc.section, tc.err })
			got, err := h(t.Context(), json.RawMessage(tc.payload))
			if !errors.Is(err, tc.err) || got.Phase != tc.section.Phase {
				t.Errorf("%+v, %v", got, err)
			}
			if counted := strings.Contains(out.String(), `"RunsSkipped":1`); counted != tc.counted || strings.Contains(out.String(), fmt.Sprintf("%q", Runs)) {
				t.Errorf("wrote %q", out.String())
			}
		})
	}
}
