package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/run"
)

// kept writes a run as it stands on disk; a nil end is a run whose process died.
func kept(t *testing.T, store runstore.Store, id string, end *runstore.End) {
	t.Helper()
	rec, err := store.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	state, err := json.Marshal(run.Run{ID: id, Mode: run.Recover, StartedAt: time.Unix(0, 0), Plan: run.PlanRef{Name: "shop", URI: "/nowhere/plan.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Begin(runstore.Checkpoint{Next: "AwaitRollback", Run: state}); err != nil {
		t.Fatal(err)
	}
	if end != nil {
		if err := rec.Finish(*end); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRunsOfThisMachine: what runs says of each, and that only a Dirty run is resolved, only a dead one finished, only a living one
// aborted.
func TestRunsOfThisMachine(t *testing.T) {
	store := runstore.Store{Dir: t.TempDir()}
	now := time.Unix(10, 0)
	ended := func(o run.Outcome) *runstore.End {
		return &runstore.End{Outcome: o, Terminal: string(o), At: now}
	}
	resolved := ended(run.Dirty)
	resolved.Resolved = &now
	for _, tc := range []struct {
		id, status, outcome            string
		end                            *runstore.End
		resolve, janitor, abort, shown string
	}{
		{"recovered", "Ended", "Recovered", ended(run.Recovered), "ended Recovered: only a Dirty run", "has ended already (Recovered)", "has ended already (Recovered)", "Ended"},
		{"rolled-back", "Ended", "RolledBack", ended(run.RolledBack), "ended RolledBack: only a Dirty run", "has ended already", "has ended already", "Ended"},
		{"dirty", "Ended", "Dirty", ended(run.Dirty), "/nowhere/plan.yaml", "has ended already (Dirty)", "has ended already", "Ended"},
		{"resolved", "Resolved", "Dirty", resolved, "was resolved at ", "has ended already (Dirty)", "has ended already", "Resolved"},
		{"refused", "Refused", "", &runstore.End{Terminal: "Refused", At: now}, "ended Refused: only a Dirty run", "has ended already (Refused)", "has ended already", "Refused"},
		{"dead", "Died", "", nil, "has not ended: fallback janitor dead", "/nowhere/plan.yaml", "has no process any more; fallback janitor dead", "next state AwaitRollback"},
	} {
		t.Run(tc.id, func(t *testing.T) {
			kept(t, store, tc.id, tc.end)
			exitCode, out, _ := cli(t, "runs", "-o", "json", "--state-dir", store.Dir)
			var rows []row
			if err := json.Unmarshal([]byte(out), &rows); exitCode != 0 || err != nil {
				t.Fatalf("runs: exit %d, %v: %s", exitCode, err, out)
			}
			found := false
			for _, r := range rows {
				if r.ID == tc.id {
					found = r.Status == tc.status && string(r.Outcome) == tc.outcome
				}
			}
			if !found {
				t.Errorf("runs says %+v, want %s %q", rows, tc.status, tc.outcome)
			}
			if exitCode, out, _ := cli(t, "show", tc.id, "--state-dir", store.Dir); exitCode != 0 || !strings.Contains(out, tc.shown) {
				t.Errorf("show: exit %d: %s", exitCode, out)
			}
			for command, says := range map[string]string{"resolve": tc.resolve, "janitor": tc.janitor, "abort": tc.abort} {
				if exitCode, _, errw := cli(t, command, tc.id, "--state-dir", store.Dir); exitCode != exitCouldNotRun || !strings.Contains(errw, says) {
					t.Errorf("%s: exit %d, %q, want %q", command, exitCode, errw, says)
				}
			}
			if s, err := store.Load(tc.id); err != nil || (s.End == nil) != (tc.end == nil) {
				t.Errorf("the run was changed: %+v, %v", s.End, err)
			}
		})
	}
}

// TestExitCodes: an outcome's exit code, whether or not the record could be kept.
func TestExitCodes(t *testing.T) {
	full := runner.NotKept{Err: errors.New("no space left on device")}
	for _, tc := range []struct {
		outcome run.Outcome
		err     error
		exit    int
		says    string
	}{
		{run.Recovered, nil, 0, ""},
		{run.Evaluated, nil, 0, ""},
		{run.Skipped, nil, 0, ""},
		{run.RolledBack, nil, 1, ""},
		{run.Aborted, nil, 1, ""},
		{run.Dirty, nil, 3, ""},
		{"", nil, 2, "run shop-1 ended in "},
		{run.Recovered, full, 0, "run shop-1 ended Recovered, and its record could not be kept: no space left on device"},
		{run.RolledBack, full, 1, "no space left on device"},
		{run.Aborted, full, 2, "no space left on device"},
		{run.Dirty, full, 3, "no space left on device"},
		{"", runner.CouldNotRun{Err: errors.New("the plan")}, 2, "fallback: the plan"},
		{"", errors.New("killed"), 2, "run shop-1 was cut off: killed; the next fallback command, or fallback janitor shop-1, finishes it"},
	} {
		t.Run(fmt.Sprint(tc.outcome, tc.err), func(t *testing.T) {
			var out, errw bytes.Buffer
			o := &options{out: &out, err: &errw}
			res := runner.Result{Run: run.Run{ID: "shop-1", Mode: run.Recover}, End: runstore.End{Outcome: tc.outcome, Terminal: string(tc.outcome)}}
			if got := code(&errw, o.ended("", res, tc.err)); got != tc.exit || !strings.Contains(errw.String(), tc.says) || (tc.says == "" && errw.Len() > 0) {
				t.Errorf("exit %d, %q; want %d, %q", got, errw.String(), tc.exit, tc.says)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"recover"}, `required flag(s) "file" not set`},
		{[]string{"drill", "-f", "plan.yaml", "-o", "yaml"}, `--output "yaml": expected text or json`},
		{[]string{"runs", "-o", "xml"}, `--output "xml": expected text or json`},
		{[]string{"show"}, "accepts 1 arg(s), received 0"},
		{[]string{"failover", "-f", "plan.yaml"}, `unknown command "failover"`},
		{[]string{"recover", "--aws", "-f", "s3://bucket/shop.yaml", "--state-machine", ""}, `--state-machine "": expected the ARN of a state machine`},
		{[]string{"recover", "--aws", "-f", "s3://bucket/shop.yaml", "--state-machine", "arn:aws:lambda:eu-central-1:123456789012:function:x"}, "expected the ARN of a state machine"},
		{[]string{"evaluate", "--aws", "-f", "./plan.yaml", "--state-machine", "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback"}, "expected s3://BUCKET/KEY.yaml"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", "/dev/null")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
			exitCode, out, errw := cli(t, append(tc.args, "--state-dir", t.TempDir())...)
			if exitCode != exitCouldNotRun || !strings.Contains(errw, tc.says) || out != "" {
				t.Errorf("exit %d, stdout %q, stderr %q", exitCode, out, errw)
			}
		})
	}
}
