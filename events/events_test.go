package events

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

var update = flag.Bool("update", false, "write the golden files")

const machine = "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback-chain"

func registry(t testing.TB, machineARN string) *Registry {
	t.Helper()
	r, err := Default(machineARN)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// place is where the samples' backups are.
func place() BackupWritten { return BackupWritten{Bucket: "velero-eu", Prefix: "eu/main"} }

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSamples compares what every sample event becomes with its golden file.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d samples (%v)", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			machineARN := machine
			if strings.HasSuffix(f, "-sample.json") { // AWS's own machine name
				machineARN = "arn:aws:states:us-east-1:012345678912:stateMachine:state-machine"
			}
			r := registry(t, machineARN)
			if strings.HasPrefix(filepath.Base(f), "backup-") { // the sealing function's
				var err error
				if r, err = NewRegistry(place()); err != nil {
					t.Fatal(err)
				}
			}
			e, err := r.Parse(sample(t, filepath.Base(f)))
			got := describe(t, e, err)
			golden := strings.TrimSuffix(f, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func describe(t *testing.T, e Event, err error) []byte {
	t.Helper()
	if err != nil {
		return []byte("error " + strings.ReplaceAll(err.Error(), "; ", "\nerror ") + "\n")
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%T %s\n", e, b)
}

// TestRedelivery: what changes between deliveries of one event must not change the run; what differs between two events must.
func TestRedelivery(t *testing.T) {
	for _, c := range []struct {
		name, sample, from, to string
		same                   bool
	}{
		{"alarm event published twice", "alarm-health-check.json", "5f0e8a44-7f3c-2f0b-9d2a-7b8f4a1c6e55", "00000000-0000-0000-0000-000000000000", true},
		{"alarm delivered later", "alarm-health-check.json", `"time": "2026-11-20T02:04:11Z"`, `"time": "2026-11-20T02:09:00Z"`, true},
		{"same alarm fires again within the second", "alarm-health-check.json", "02:04:11.417+0000", "02:04:11.950+0000", false},
		{"other alarm at the same time", "alarm-health-check.json", "shop-endpoint-unhealthy", "shop-endpoint-unhealthy-2", false},
		{"next night's schedule", "scheduler-drill.json", "2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z", false},
		{"other schedule at the same time", "scheduler-drill.json", "schedule/fallback/shop-drill", "schedule/fallback/shop-weekly", false},
		{"same schedule, time written with a zone", "scheduler-drill.json", "2026-11-20T02:00:00Z", "2026-11-20T03:00:00+01:00", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := string(sample(t, c.sample))
			if !strings.Contains(raw, c.from) {
				t.Fatalf("%s does not contain %q", c.sample, c.from)
			}
			a, b := runOfEvent(t, raw).ID, runOfEvent(t, strings.ReplaceAll(raw, c.from, c.to)).ID
			if (a == b) != c.same {
				t.Errorf("IDs %s and %s, want the same: %v", a, b, c.same)
			}
		})
	}
}

func runOfEvent(t *testing.T, raw string) run.Run {
	t.Helper()
	e, err := registry(t, machine).Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := e.(Start)
	if !ok {
		t.Fatalf("%T %+v, want a Start", e, e)
	}
	return s.Run
}

// TestPlanAsText: the transformer's variable is accepted as text too.
func TestEventAsText(t *testing.T) {
	bare, err := json.Marshal(string(sample(t, "alarm-health-check-bare.json")))
	if err != nil {
		t.Fatal(err)
	}
	raw := fmt.Sprintf(`{"plan":{"name":"shop","uri":"plans/shop.yaml"},"event":%s}`, bare)
	if got, want := runOfEvent(t, raw).ID, runOfEvent(t, string(sample(t, "alarm-health-check.json"))).ID; got != want {
		t.Errorf("ID %s, want %s", got, want)
	}
}

// TestACompositeAlarmStartsNothing: not even one that a rule has a plan for. So admit need not read composite alarms.
func TestACompositeAlarmStartsNothing(t *testing.T) {
	raw := fmt.Sprintf(`{"plan":{"name":"shop","uri":"s3://plans/plans/shop.yaml"},"event":%s}`, sample(t, "alarm-composite.json"))
	e, err := registry(t, machine).Parse([]byte(raw))
	if _, ok := e.(NoOp); !ok || err != nil {
		t.Errorf("%T %+v, %v; want a NoOp", e, e, err)
	}
}

// TestEveryMistakeAtOnce names, for each parser, an input with many mistakes and the fields its error must name.
func TestEveryMistakeAtOnce(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		fields    []string
	}{
		{"no object", `[1]`, []string{"the input"}},
		{"nothing", ``, []string{"the input"}},
		{"null", `null`, []string{"the input"}},
		{"source of another type", `{"source":1,"detail-type":2}`, []string{"source", "detail-type"}},
		{"scheduler", `{"source":"fallbackchain.scheduler","detail-type":"Scheduled Run","id":"d32c5kddcf5bb8c3","time":"<aws.scheduler.scheduled-time>",
			"resources":[],"extra":1,"detail":{"mode":"recover","plan":{"name":"Shop","digset":"x","digest":"md5:1"},"modus":"drill"}}`,
			[]string{"id", "time", "resources", "extra", "detail.mode", "detail.plan.name", "detail.plan.uri", "detail.plan.digset", "detail.plan.digest", "detail.modus"}},
		{"scheduler without detail", `{"source":"fallbackchain.scheduler","detail-type":"Scheduled Run"}`, []string{"time", "resources", "detail"}},
		{"alarm", `{"plan":{"name":"shop","uri":"ftp://x/y"},"event":{"source":"aws.cloudwatch","detail-type":"CloudWatch Alarm State Change","resources":["a","b"],
			"detail":{"configuration":{"metrics":[{"metricStat":{"metric":{"namespace":"AWS/Route53","name":"HealthCheckStatus"}}}]},
			"state":{"value":"alarm","timestamp":"yesterday"}}}}`, []string{"plan.uri"}},
		{"alarm behind a good plan", `{"plan":{"name":"shop","uri":"s3://plans/shop.yaml"},"event":{"source":"aws.cloudwatch","detail-type":"CloudWatch Alarm State Change","resources":["a","b"],
			"detail":{"configuration":{"metrics":[{"metricStat":{"metric":{"namespace":"AWS/Route53","name":"HealthCheckStatus"}}}]},
			"state":{"value":"alarm","timestamp":"yesterday"}}}}`,
			[]string{"id", "resources", "detail.alarmName", "detail.configuration.metrics[0].metricStat.metric.dimensions", "detail.state.value", "detail.state.timestamp", "detail.previousState"}},
		{"alarm of another alarm's ARN", strings.Replace(string(sample(t, "alarm-health-check.json")), `"alarmName": "shop-endpoint-unhealthy"`, `"alarmName": "other"`, 1), []string{"resources"}},
		{"execution", `{"source":"aws.states","detail-type":"Step Functions Execution Status Change","detail":{"stateMachineArn":"` + machine + `","executionArn":"x","name":"my-run","status":"DEAD","stopDate":"noon","error":5}}`,
			[]string{"id", "detail.executionArn", "detail.name", "detail.status", "detail.stopDate", "detail.error"}},
		{"manual", `{"id":"x","mode":"destroy","trigger":{"kind":"cron","at":"noon","who":"me"},"plan":{"name":"Shop"},"dryRun":"yes","admit":{"phase":"Admitted"},"faults":{"a":{}}}`,
			[]string{"id", "mode", "trigger.kind", "trigger.at", "trigger.who", "plan.name", "plan.uri", "dryRun", "admit", "faults", "demotions", "startedAt"}},
		{"manual, empty", `{}`, []string{"id", "mode", "trigger.kind", "trigger.at", "plan.name", "plan.uri", "startedAt", "demotions", "faults"}},
		{"manual, ID of another plan and mode", strings.Replace(string(sample(t, "manual-drill.json")), "shop-drill-", "shop-evaluate-", 1), []string{"id"}},
		{"manual, alarm without its ARN", strings.NewReplacer(`"manual"`, `"alarm"`, "drill", "recover").Replace(string(sample(t, "manual-drill.json"))), []string{"trigger.alarmArn"}},
		{"manual, schedule that recovers", strings.NewReplacer(`"manual"`, `"schedule"`, "drill", "recover").Replace(string(sample(t, "manual-drill.json"))), []string{"mode"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := registry(t, machine).Parse([]byte(c.raw))
			bad, ok := err.(Mistakes)
			if !ok {
				t.Fatalf("error %v of type %T (event %+v), want Mistakes", err, err, e)
			}
			got := map[string]int{}
			for _, m := range bad {
				got[m.Field]++
			}
			for _, f := range c.fields {
				if got[f] == 0 {
					t.Errorf("%q is not named in %q", f, bad)
				}
				delete(got, f)
			}
			for f := range got {
				t.Errorf("%q is named without need in %q", f, bad)
			}
		})
	}
}

func TestTwoParsersForOneEvent(t *testing.T) {
	if _, err := NewRegistry(Manual{}, Alarm{}, Manual{}); err == nil {
		t.Error("want an error")
	}
}

// TestSkeletonIsWhole: what a Start marshals to is what ParseRun accepts, once it has its start.
func TestSkeletonIsWhole(t *testing.T) {
	for _, name := range []string{"alarm-health-check.json", "scheduler-drill.json", "scheduler-evaluate.json", "manual-drill.json"} {
		r := runOfEvent(t, string(sample(t, name)))
		if r.StartedAt.IsZero() {
			r.StartedAt = r.Trigger.At
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte(`"demotions":{},"faults":{}`)) {
			t.Errorf("%s: %s has no empty demotions and faults", name, raw)
		}
		if _, err := ParseRun(raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse: no input panics any parser, every error names fields, and every run that starts has a legal ID and passes
// the check of the machine's first state.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, name := range files {
		f.Add(sample(f, filepath.Base(name)))
	}
	f.Add([]byte(`{"plan":{"name":"shop","uri":"x"},"event":"{\"source\":\"aws.cloudwatch\"}"}`))
	r := registry(f, machine)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := r.Parse(raw)
		if err != nil {
			if bad, ok := err.(Mistakes); !ok || len(bad) == 0 {
				t.Fatalf("error %v of type %T, want Mistakes", err, err)
			}
			return
		}
		fuzzed(t, e)
	})
}

// fuzzed checks what must hold for whatever a parser returned.
func fuzzed(t *testing.T, e Event) {
	switch e := e.(type) {
	case Start:
		if _, err := runid.Parse(e.Run.ID); err != nil {
			t.Error(err)
		}
		r := e.Run
		if r.StartedAt.IsZero() {
			r.StartedAt = r.Trigger.At
		}
		if bad := CheckInput(r); len(bad) > 0 {
			t.Errorf("%+v: %v", r, bad)
		}
	case Janitor:
		if _, err := runid.Parse(e.RunID); err != nil || e.ExecutionARN == "" || e.Status == "" {
			t.Errorf("janitor request %+v: %v", e, err)
		}
	case Backup:
		if e.Bucket != place().Bucket || e.Key != place().Prefix+"/backups/"+e.Name+"/velero-backup.json" || strings.ContainsAny(e.Name, "/\\%") || e.At.IsZero() {
			t.Errorf("backup %+v", e)
		}
	case NoOp:
		if e.Reason == "" {
			t.Errorf("no-op without a reason: %+v", e)
		}
	default:
		t.Errorf("event of type %T", e)
	}
}

// The parsers by themselves, without the registry that rejects what is no object.
func fuzzParser(f *testing.F, p Parser, samples string) {
	files, _ := filepath.Glob("testdata/" + samples)
	for _, name := range files {
		f.Add(sample(f, filepath.Base(name)))
	}
	f.Add([]byte(`{"detail":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := p.Parse(Input{Raw: raw, Plan: &run.PlanRef{Name: "shop", URI: "s3://plans/shop.yaml"}})
		if err == nil {
			fuzzed(t, e)
		} else if bad, ok := err.(Mistakes); !ok || len(bad) == 0 {
			t.Fatalf("error %v of type %T, want Mistakes", err, err)
		}
	})
}

func FuzzScheduler(f *testing.F) { fuzzParser(f, Scheduler{}, "scheduler-*.json") }
func FuzzAlarm(f *testing.F)     { fuzzParser(f, Alarm{}, "alarm-*.json") }
func FuzzExecution(f *testing.F) {
	fuzzParser(f, Execution{MachineARN: machine}, "execution-*.json")
}
func FuzzBackupWritten(f *testing.F) { fuzzParser(f, place(), "backup-*.json") }
func FuzzManual(f *testing.F)        { fuzzParser(f, Manual{}, "manual-*.json") }

// TestQualifiedMachine: a machine that is started by its alias is still ours.
func TestQualifiedMachine(t *testing.T) {
	for arn, want := range map[string]bool{machine: true, machine + ":live": true, machine + "-2": false, machine[:len(machine)-1]: false} {
		e, err := registry(t, arn).Parse(sample(t, "execution-timed-out.json"))
		if _, ours := e.(Janitor); err != nil || ours != want {
			t.Errorf("%s: %T %v, want ours %v", arn, e, err, want)
		}
	}
}
