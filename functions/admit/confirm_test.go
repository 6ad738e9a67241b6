package admit

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// held is a run as it comes out of the hold-down.
func held(t *testing.T, b *bench) run.Run {
	t.Helper()
	r := input(run.Recover, run.Alarm)
	s, err := b.handler().Handle(t.Context(), OpAdmit, "", r)
	if err != nil || s.Phase != run.Hold {
		t.Fatalf("%+v, %v", s, err)
	}
	r.Admit = &s
	b.now = s.HoldUntil.Add(time.Second)
	return r
}

func TestConfirm(t *testing.T) {
	for _, c := range []struct {
		name   string
		setup  func(*bench)
		phase  run.Phase
		reason string
		code   fault.Code
		text   string
	}{
		{name: "still ALARM", phase: run.Admitted, text: "still ALARM"},
		{name: "OK again", setup: func(b *bench) { b.alarm = StateOK }, phase: run.NotAdmitted, reason: AlarmCleared, text: "OK again"},
		{name: "too little data", setup: func(b *bench) { b.alarm = StateInsufficientData }, phase: run.NotAdmitted, reason: AlarmInsufficientData, text: "too little data"},
		{name: "another run ended meanwhile", setup: func(b *bench) { b.last = &Change{RunID: "shop-recover-2", EndedAt: now.Add(time.Minute)} },
			phase: run.NotAdmitted, reason: CoolingDown, text: "shop-recover-2"},
		{name: "the alarm does not answer", setup: func(b *bench) { b.alarm, b.alarmErr = "", errors.New("timeout") }, code: fault.Unavailable, text: "timeout"},
		{name: "the alarm's API throttles", setup: func(b *bench) { b.alarm, b.alarmErr = StateAlarm, fault.New(fault.Throttled, "describe", nil) }, code: fault.Throttled, text: "describe"},
		{name: "the alarm may not be read", setup: func(b *bench) { b.alarmErr = fault.New(fault.PermissionDenied, "describe", nil) }, code: fault.PermissionDenied, text: "describe"},
		{name: "a state nobody knows", setup: func(b *bench) { b.alarm = "" }, code: fault.Internal, text: `its state is ""`},
		{name: "the plan was changed during the hold-down", setup: func(b *bench) { b.plan += "\n" }, code: fault.PlanInvalid, text: "the plan was changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench()
			r := held(t, b)
			before := *r.Admit
			if c.setup != nil {
				c.setup(b)
			}
			got, err := b.handler().Handle(t.Context(), OpConfirm, "ConfirmAlarm", r)
			if c.code != "" {
				if f := fault.From(err); f == nil || f.Code != c.code || !strings.Contains(f.Error(), c.text) {
					t.Errorf("%v, want %s saying %q", err, c.code, c.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase != c.phase || got.Reason != c.reason || !strings.Contains(got.Message, c.text) {
				t.Errorf("%+v, want %s %s saying %q", got, c.phase, c.reason, c.text)
			}
			if !cmp.Equal(got.Tiers, before.Tiers) || got.Target != before.Target || got.PlanDigest != before.PlanDigest {
				t.Errorf("confirm lost what admit wrote: %+v", got)
			}
		})
	}
}

func TestConfirmRefusesWhatWasNotHeld(t *testing.T) {
	b := newBench()
	r := input(run.Recover, run.Manual)
	r.Admit = &run.Admit{Phase: run.Admitted}
	_, err := b.handler().Handle(t.Context(), OpConfirm, "", r)
	f := fault.From(err)
	if f == nil || f.Code != fault.InputInvalid || !strings.Contains(f.Error(), "admit.phase") || !strings.Contains(f.Error(), "trigger.kind") {
		t.Errorf("%v, want InputInvalid naming admit.phase and trigger.kind", err)
	}
}

func TestWithoutAlarmsAnAlarmIsRefused(t *testing.T) {
	h := newBench().handler()
	h.Alarms, h.LastRuns = nil, nil
	_, err := h.Handle(t.Context(), OpAdmit, "", input(run.Recover, run.Alarm))
	if f := fault.From(err); f == nil || f.Code != fault.InputInvalid {
		t.Errorf("%v, want InputInvalid", err)
	}
	if _, err := h.Handle(t.Context(), OpAdmit, "", input(run.Recover, run.Manual)); err != nil {
		t.Errorf("by hand: %v", err)
	}
}

// TestHandleRaw: what enters the machine directly is read strictly; the same input without the mistake is admitted.
func TestHandleRaw(t *testing.T) {
	good, err := json.Marshal(input(run.Drill, run.Manual))
	if err != nil {
		t.Fatal(err)
	}
	named := `"execution":"shop-drill-20261120020411-9f3c",`
	for _, c := range []struct {
		name, payload string
		want          fault.Code
		text          string
	}{
		{"good", `{"op":"admit","state":"Admit",` + named + `"run":` + string(good) + `}`, "", ""},
		{"under another name", `{"op":"admit","execution":"0f9b2a6e-7d1c-4a53-9d0e-3c1f5b7a8e42","run":` + string(good) + `}`, fault.InputInvalid,
			`execution is "0f9b2a6e-7d1c-4a53-9d0e-3c1f5b7a8e42": expected "shop-drill-20261120020411-9f3c", the run's id`},
		{"under no name", `{"op":"admit","run":` + string(good) + `}`, fault.InputInvalid, `execution is "": expected "shop-drill-20261120020411-9f3c"`},
		{"confirmed under another name", `{"op":"confirm","execution":"other","run":` + string(good) + `}`, fault.InputInvalid, `execution is "other"`},
		{"unknown field", `{"op":"admit",` + named + `"run":` + strings.Replace(string(good), `"mode"`, `"mood":1,"mode"`, 1) + `}`, fault.InputInvalid, "mood"},
		{"unknown field of the plan reference", `{"op":"admit",` + named + `"run":` + strings.Replace(string(good), `"uri"`, `"url":"x","uri"`, 1) + `}`, fault.InputInvalid, "plan.url"},
		{"a section", `{"op":"admit",` + named + `"run":` + strings.Replace(string(good), `"mode"`, `"lease":{"phase":"Held"},"mode"`, 1) + `}`, fault.InputInvalid, "lease"},
		{"a dry run", `{"op":"admit",` + named + `"run":` + strings.Replace(string(good), `"mode"`, `"dryRun":true,"mode"`, 1) + `}`, fault.InputInvalid, "dryRun"},
		{"no run", `{"op":"admit"}`, fault.InputInvalid, "JSON object"},
		{"no run to confirm", `{"op":"confirm"}`, fault.InputInvalid, "end of JSON"},
		{"no JSON", `x`, fault.InputInvalid, "request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := newBench().handler().HandleRaw(t.Context(), []byte(c.payload))
			if c.want == "" {
				if err != nil || s.Phase != run.Admitted {
					t.Errorf("%+v, %v", s, err)
				}
				return
			}
			if f := fault.From(err); f == nil || f.Code != c.want || !strings.Contains(f.Error(), c.text) {
				t.Errorf("%v, want %s saying %q", err, c.want, c.text)
			}
		})
	}
}
