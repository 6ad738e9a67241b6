package admit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

const (
	alarmARN = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:shop-endpoint-unhealthy"
	planText = `apiVersion: fallbackchain.io/v1alpha1
kind: FallbackPlan
metadata:
  name: shop
spec:
  workload:
    namespace: shop-prod
    statefulSet: shop-db
    database:
      engine: postgresql
      port: 5432
      name: shop
      credentials:
        environment: {username: SHOP_DB_USER, password: SHOP_DB_PASSWORD}
      queries:
        - name: orders
          sql: SELECT count(*) FROM orders
          expect: {atLeast: 1}
  cluster:
    kubeconfig: {path: kubeconfig}
  quarantine:
    level: Applied
  inventory:
    manifests: {path: bundle}
  triggers: {holdDown: 2m, coolDown: 30m}
`
)

var (
	detected = time.Date(2026, 11, 20, 2, 4, 11, 417e6, time.UTC)
	now      = detected.Add(5 * time.Second)
)

// bench is a handler whose edges succeed unless a test says otherwise.
type bench struct {
	plan     string
	planErr  error
	alarm    AlarmState
	alarmErr error
	last     *Change
	lastErr  error
	now      time.Time
	asked    []string
}

func newBench() *bench { return &bench{plan: planText, alarm: StateAlarm, now: now} }

func (b *bench) State(_ context.Context, arn string) (AlarmState, error) {
	b.asked = append(b.asked, "alarm "+arn)
	return b.alarm, b.alarmErr
}

func (b *bench) LastChange(_ context.Context, name, id string, since time.Time) (*Change, error) {
	b.asked = append(b.asked, fmt.Sprintf("last %s %s %s", name, id, since.Format(time.RFC3339)))
	return b.last, b.lastErr
}

func (b *bench) handler() *Handler {
	return &Handler{Plans: ReadFunc(func(context.Context, string) ([]byte, error) { return []byte(b.plan), b.planErr }),
		Alarms: b, LastRuns: b, Now: func() time.Time { return b.now }}
}

func input(mode run.Mode, kind run.TriggerKind) run.Run {
	r := run.Run{
		ID: "shop-" + string(mode) + "-20261120020411-9f3c", Mode: mode, StartedAt: now,
		Trigger:   run.Trigger{Kind: kind, ID: "event-1", At: detected},
		Plan:      run.PlanRef{Name: "shop", URI: "s3://fallback-plans/shop.yaml"},
		Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{},
	}
	if kind == run.Alarm {
		r.Trigger.AlarmARN = alarmARN
	}
	return r
}

func allTiers() map[string]bool {
	return map[string]bool{"VolumeAttachmentSync": true, "ControlPlaneReconcile": true, "DegradedStatefulSet": true}
}

func TestAdmit(t *testing.T) {
	hold := time.Date(2026, 11, 20, 2, 6, 12, 0, time.UTC)
	for _, c := range []struct {
		name  string
		run   run.Run
		setup func(*bench)
		want  run.Admit
		asked int
	}{
		{"evaluate by schedule", input(run.Evaluate, run.Schedule), nil,
			run.Admit{Phase: run.Admitted, Tiers: allTiers(), Target: "shop-prod"}, 0},
		{"drill works in a namespace of its own", input(run.Drill, run.Schedule), nil,
			run.Admit{Phase: run.Admitted, Tiers: allTiers(), Target: "drill-shop-drill-20261120020411-9f3c"}, 0},
		{"recover by hand asks neither alarm nor cool-down", input(run.Recover, run.Manual),
			func(b *bench) { b.last = &Change{RunID: "x", EndedAt: now} },
			run.Admit{Phase: run.Admitted, Tiers: allTiers(), Target: "shop-prod"}, 0},
		{"disabled tiers are named, not left out", input(run.Recover, run.Manual), func(b *bench) {
			b.plan += "  tiers:\n    volumeAttachmentSync: {enabled: false}\n    degradedStatefulSet: {enabled: true}\n"
		}, run.Admit{Phase: run.Admitted, Target: "shop-prod",
			Tiers: map[string]bool{"VolumeAttachmentSync": false, "ControlPlaneReconcile": true, "DegradedStatefulSet": true}}, 0},
		{"without an inventory nothing is reconciled", input(run.Recover, run.Manual),
			func(b *bench) {
				b.plan = strings.Replace(planText, "  inventory:\n    manifests: {path: bundle}\n", "", 1)
			},
			run.Admit{Phase: run.Admitted, Target: "shop-prod",
				Tiers: map[string]bool{"VolumeAttachmentSync": true, "ControlPlaneReconcile": false, "DegradedStatefulSet": true}}, 0},
		{"an alarm is held", input(run.Recover, run.Alarm), nil, run.Admit{Phase: run.Hold, Reason: HoldDown, HoldUntil: &hold,
			Message: "the alarm must last for 2m0s: it is read again at 2026-11-20T02:06:12Z", Tiers: allTiers(), Target: "shop-prod"}, 1},
		{"an alarm in the cool-down is skipped", input(run.Recover, run.Alarm),
			func(b *bench) {
				b.last = &Change{RunID: "shop-recover-1", EndedAt: now.Add(-30*time.Minute + time.Second)}
			},
			run.Admit{Phase: run.NotAdmitted, Reason: CoolingDown, Tiers: allTiers(), Target: "shop-prod",
				Message: "run shop-recover-1 of this plan ended at 2026-11-20T01:34:17Z: by alarm the next one starts 30m0s later at the earliest, at 2026-11-20T02:04:17Z"}, 1},
		{"an alarm just after the cool-down is held", input(run.Recover, run.Alarm),
			func(b *bench) { b.last = &Change{RunID: "shop-recover-1", EndedAt: now.Add(-30 * time.Minute)} },
			run.Admit{Phase: run.Hold, Reason: HoldDown, HoldUntil: &hold,
				Message: "the alarm must last for 2m0s: it is read again at 2026-11-20T02:06:12Z", Tiers: allTiers(), Target: "shop-prod"}, 1},
		{"an alarm beside a run that works already is skipped", input(run.Recover, run.Alarm),
			func(b *bench) { b.last = &Change{RunID: "shop-recover-1"} },
			run.Admit{Phase: run.NotAdmitted, Reason: RunInProgress, Message: "run shop-recover-1 of this plan is under way", Tiers: allTiers(), Target: "shop-prod"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench()
			if c.setup != nil {
				c.setup(b)
			}
			got, err := b.handler().Handle(t.Context(), OpAdmit, "Admit", c.run)
			if err != nil {
				t.Fatal(err)
			}
			c.want.PlanDigest = plan.Digest([]byte(b.plan))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if len(b.asked) != c.asked {
				t.Errorf("asked %q, want %d questions", b.asked, c.asked)
			}
		})
	}
}

func TestAdmitRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		run   run.Run
		setup func(*bench)
		op    string
		want  fault.Code
		text  string
	}{
		{name: "failover is not built yet", run: input(run.Failover, run.Manual), want: fault.ModeNotSupported, text: `mode is "failover"`},
		{name: "failback is not built yet", run: input(run.Failback, run.Manual), want: fault.ModeNotSupported, text: "not built yet"},
		{name: "every mistake of the input", run: run.Run{Mode: "destroy", Plan: run.PlanRef{Name: "Shop"}}, want: fault.InputInvalid,
			text: "trigger.kind is missing"},
		{name: "a section that no step wrote", run: func() run.Run {
			r := input(run.Recover, run.Manual)
			r.Quarantine = &run.Quarantine{Phase: run.Verified}
			return r
		}(), want: fault.InputInvalid, text: "quarantine is there already"},
		{name: "an alarm cannot drill", run: input(run.Drill, run.Alarm), want: fault.InputInvalid, text: `mode is "drill"`},
		{name: "a schedule cannot recover", run: input(run.Recover, run.Schedule), want: fault.InputInvalid, text: `mode is "recover"`},
		{name: "unknown operation", run: input(run.Recover, run.Manual), op: "assess", want: fault.InputInvalid, text: `op is "assess"`},
		{name: "plan cannot be read", run: input(run.Recover, run.Manual), setup: func(b *bench) { b.planErr = os.ErrNotExist }, want: fault.PlanInvalid, text: "file does not exist"},
		{name: "plan store does not answer", run: input(run.Recover, run.Manual), setup: func(b *bench) { b.planErr = fault.New(fault.Unavailable, "get", nil) }, want: fault.Unavailable, text: "get"},
		{name: "plan read out of time", run: input(run.Recover, run.Manual), setup: func(b *bench) { b.planErr = context.DeadlineExceeded }, want: fault.Unavailable, text: "load plan"},
		{name: "plan with mistakes", run: input(run.Recover, run.Manual), setup: func(b *bench) { b.plan += "  oops: 1\n" }, want: fault.PlanInvalid, text: "oops"},
		{name: "plan of another name", run: input(run.Recover, run.Manual), setup: func(b *bench) { b.plan = strings.Replace(planText, "name: shop\nspec", "name: other\nspec", 1) },
			want: fault.PlanInvalid, text: `metadata.name is "other"`},
		{name: "plan of other bytes", run: func() run.Run {
			r := input(run.Recover, run.Manual)
			r.Plan.Digest = plan.Digest([]byte("what it was"))
			return r
		}(), want: fault.PlanInvalid, text: "the plan was changed"},
		{name: "a drill without an inventory", run: input(run.Drill, run.Manual),
			setup: func(b *bench) {
				b.plan = strings.Replace(planText, "  inventory:\n    manifests: {path: bundle}\n", "", 1)
			},
			want: fault.PlanInvalid, text: "spec.inventory is missing"},
		{name: "earlier runs cannot be read", run: input(run.Recover, run.Alarm), setup: func(b *bench) { b.lastErr = errors.New("no route") }, want: fault.Unavailable, text: "no route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench()
			if c.setup != nil {
				c.setup(b)
			}
			if c.op == "" {
				c.op = OpAdmit
			}
			got, err := b.handler().Handle(t.Context(), c.op, "", c.run)
			if f := fault.From(err); f == nil || f.Code != c.want || !strings.Contains(f.Error(), c.text) {
				t.Errorf("%v, want %s saying %q", err, c.want, c.text)
			}
			if d := cmp.Diff(run.Admit{}, got); d != "" {
				t.Errorf("a refused run has a section: %s", d)
			}
		})
	}
}
