package machine_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

const alarmName = "shop-endpoint-unhealthy"

// alarm is the event that the health check's alarm went into ALARM at a time.
func (b *bed) alarm(t *testing.T, at time.Time) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "events", "testdata", "alarm-health-check.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Event map[string]any }
	if err := json.Unmarshal(data, &sample); err != nil {
		t.Fatal(err)
	}
	e := sample.Event
	detail, _ := e["detail"].(map[string]any)
	detail["state"].(map[string]any)["timestamp"] = at.UTC().Format("2006-01-02T15:04:05.000-0700")
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// setAlarm puts the alarm into a state: OK or ALARM.
func (b *bed) setAlarm(t *testing.T, state string) {
	t.Helper()
	form := url.Values{"AlarmName": {alarmName}, "StateValue": {state}, "StateReason": {"the test says so"}}
	if out, err := b.cloudWatch("SetAlarmState", form); err != nil {
		t.Fatalf("%s %v", out, err)
	}
}

// heldDown: an alarm that is over after the hold-down starts nothing.
func (b *bed) heldDown(t *testing.T) {
	b.setAlarm(t, "OK")
	started := b.beginsBy(t, healthRegion, b.alarm(t, time.Now()))
	b.await(t, started.ExecutionARN)
	if path := b.path(t, started.ExecutionARN); last(path) != "Skipped" || !slices.Contains(path, "HoldDown") {
		t.Errorf("it went %v, want HoldDown and Skipped", path)
	}
}

// atOnce: an alarm and a schedule begin a recover and a drill of one workload at once. The recover has the lease first, and the drill
// leaves the workload alone.
func (b *bed) atOnce(t *testing.T) {
	b.setAlarm(t, "ALARM")
	held := make(chan struct{})
	b.on(t, run.Drill, "lease", "acquire", func(run.Run) awstest.Mishap {
		select {
		case <-held:
		case <-t.Context().Done():
		}
		return awstest.None
	})
	b.on(t, run.Recover, "rollbackpoint", "capture", func(run.Run) awstest.Mishap { close(held); return awstest.None })
	at := time.Now()
	drill := b.begin(t, b.schedule(t, run.Drill, "shop", at))
	recovery := b.beginsBy(t, healthRegion, b.alarm(t, at))
	r := b.ends(t, recovery.ExecutionARN, "Recovered")
	if r.Outcome != run.Recovered {
		t.Errorf("the recover: %s", r.Outcome)
	}
	d := b.ends(t, drill.ExecutionARN, "Aborted")
	if len(d.Changes) != 0 || d.StartedAt.After(r.WrittenAt) {
		t.Errorf("the drill began %s (the recover ended %s) and made %d changes: expected at once, and none", d.StartedAt, r.WrittenAt, len(d.Changes))
	}
	b.nothingLeft(t, r.Run)
	b.nothingLeft(t, d.Run)
}
