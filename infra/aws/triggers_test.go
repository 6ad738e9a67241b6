package aws_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/cronexpr"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/run"
)

// deployed is what the names in the templates stand for where the sample events are from.
var deployed = map[string]string{
	"StateMachine": "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback-chain", "AlarmName": "shop-endpoint-unhealthy", "ProbeAlarmName": "shop-probe",
	"VeleroBucketName": "velero-eu", "${VeleroPrefix}/backups/*/velero-backup.json": "eu/main/backups/*/velero-backup.json",
}

// resolved puts the values in; of an !If, whose tag is not read, the first branch is taken, for every condition is met there.
func resolved(v any) any {
	switch v := v.(type) {
	case string:
		if to, ok := deployed[v]; ok {
			return to
		}
	case []any:
		if condition, ok := first(v).(string); ok && len(v) == 3 && regexp.MustCompile(`^Has[A-Z]`).MatchString(condition) {
			return resolved(v[1])
		}
		out := []any{}
		for _, e := range v {
			out = append(out, resolved(e))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = resolved(e)
		}
		return out
	}
	return v
}

func first(v []any) any {
	if len(v) == 0 {
		return nil
	}
	return v[0]
}

// variants are what else an execution ends with: not admitted, in the graph's own words, and without an error, as the documentation has it.
func variants(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	definition, err := os.ReadFile(filepath.Join(root, "statemachine", "fallback.asl.json"))
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct{ Error, Cause string }
	}
	decode(t, definition, &machine)
	refused := machine.States["Refused"]
	if refused.Error != "Refused" || refused.Cause == "" || strings.ContainsAny(refused.Cause, "\"\\\n<") {
		t.Fatalf("%+v: expected a cause that a text can hold as it is", refused)
	}
	out := map[string]json.RawMessage{}
	for name, change := range map[string]func(detail map[string]any){
		"execution-refused":      func(d map[string]any) { d["error"], d["cause"] = refused.Error, refused.Cause },
		"execution-failed-bare":  func(d map[string]any) { delete(d, "error"); delete(d, "cause") },
		"execution-aborted-bare": func(d map[string]any) { delete(d, "error"); delete(d, "cause"); d["status"] = "ABORTED" },
	} {
		sample, err := os.ReadFile(filepath.Join(root, "events", "testdata", "execution-failed-by-graph.json"))
		if err != nil {
			t.Fatal(err)
		}
		var event map[string]any
		decode(t, sample, &event)
		change(event["detail"].(map[string]any))
		if out[name], err = json.Marshal(event); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestSamplesMatchTheirRules: each sample event is taken by the rules that are for it and by no other, and each rule has a sample.
func TestSamplesMatchTheirRules(t *testing.T) {
	const died, told, refused, alarm, forward, seal = "ExecutionDiedRule", "NotRecoveredRule", "RefusedRule", "AlarmRule", "ForwardRule", "BackupWrittenRule"
	want := map[string][]string{
		"execution-timed-out": {died, told}, "execution-aborted": {died, told}, "execution-failed-runtime": {died, told}, "execution-failed-by-graph": {died, told},
		"execution-refused": {died, refused}, "execution-failed-bare": {died, told}, "execution-aborted-bare": {died, told},
		"alarm-health-check": {alarm, forward}, "alarm-health-check-bare": {alarm, forward}, "alarm-health-check-first": {alarm, forward},
		"alarm-probe": {alarm}, "alarm-probe-bare": {alarm},
		// A wildcard takes a slash, too; the parser leaves the deeper one out.
		"backup-written": {seal}, "backup-written-unversioned": {seal}, "backup-deeper": {seal},
	}
	files, err := filepath.Glob(filepath.Join(root, "events", "testdata", "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	var names []string
	var samples []json.RawMessage
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var wrapped struct{ Event json.RawMessage }
		if decode(t, b, &wrapped); wrapped.Event != nil { // as our rule passes it on
			b = wrapped.Event
		}
		names, samples = append(names, strings.TrimSuffix(filepath.Base(f), ".json")), append(samples, b)
	}
	for name, v := range variants(t) {
		names, samples = append(names, name), append(samples, v)
	}
	got := map[string][]string{}
	all := templates(t)
	rules := map[string]json.RawMessage{}
	for _, path := range []string{"template.yaml", "infra/aws/health-check.yaml"} {
		for name, r := range all[path].Resources {
			if r.Type == "AWS::Events::Rule" {
				rules[name] = r.Properties
			}
		}
	}
	for name, properties := range rules {
		var r struct{ EventPattern map[string]any }
		decode(t, properties, &r)
		used := false
		for i, taken := range matches(t, resolved(r.EventPattern), samples) {
			if taken {
				got[names[i]], used = append(got[names[i]], name), true
			}
		}
		if !used {
			t.Errorf("%s has no sample", name)
		}
	}
	for _, name := range names {
		if slices.Sort(got[name]); !slices.Equal(got[name], slices.Sorted(slices.Values(want[name]))) {
			t.Errorf("%s is taken by %v, expected %v", name, got[name], want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("no samples of %v", slices.Collect(maps.Keys(want)))
	}
}

// TestSchedules: what the schedules say, once the Scheduler has put in its keywords, are the samples, byte for byte in meaning.
func TestSchedules(t *testing.T) {
	registry, err := events.Default(machineARN)
	if err != nil {
		t.Fatal(err)
	}
	d := read(t)
	for name, c := range map[string]struct {
		sample, expression string
		mode               run.Mode
	}{"NightlyDrill": {"scheduler-drill.json", "DrillSchedule", run.Drill}, "Evaluation": {"scheduler-evaluate.json", "EvaluateSchedule", run.Evaluate}} {
		t.Run(name, func(t *testing.T) {
			var s struct {
				Name, GroupName, ScheduleExpression, ScheduleExpressionTimezone string
				FlexibleTimeWindow                                              []any
				Target                                                          struct {
					Arn, RoleArn, Input string
					DeadLetterConfig    struct{ Arn string }
					RetryPolicy         struct{ MaximumEventAgeInSeconds, MaximumRetryAttempts int }
				}
			}
			decode(t, d.Resources[name].Properties, &s)
			if s.ScheduleExpression != c.expression || s.ScheduleExpressionTimezone != "ScheduleTimeZone" || len(s.FlexibleTimeWindow) != 3 || s.GroupName != "ScheduleGroup" ||
				s.Target.Arn != "IntakeFunction.Alias" || s.Target.RoleArn != "SchedulerRole.Arn" || s.Target.DeadLetterConfig.Arn != "DeadLetters.Arn" ||
				s.Target.RetryPolicy.MaximumEventAgeInSeconds < 60 || s.Target.RetryPolicy.MaximumRetryAttempts < 1 {
				t.Errorf("%+v", s)
			}
			sample, err := os.ReadFile(filepath.Join(root, "events", "testdata", c.sample))
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Time      string
				Resources []string
				Detail    struct{ Plan struct{ URI string } }
			}
			decode(t, sample, &want)
			if at := "/" + strings.ReplaceAll(s.Name, "${PlanName}", "shop"); !strings.HasSuffix(want.Resources[0], at) {
				t.Errorf("the schedule's name makes %s, the sample is of %s", at, want.Resources[0])
			}
			input := strings.NewReplacer("<aws.scheduler.scheduled-time>", want.Time, "<aws.scheduler.schedule-arn>", want.Resources[0],
				"s3://${PlanBucket}/plans/${PlanName}.yaml", want.Detail.Plan.URI, "${PlanName}", "shop").Replace(s.Target.Input)
			var a, b any
			decode(t, []byte(input), &a)
			decode(t, sample, &b)
			if !reflect.DeepEqual(a, b) {
				t.Errorf("the schedule says %s\nthe sample is %s", input, sample)
			}
			e, err := registry.Parse([]byte(input))
			if start, ok := e.(events.Start); err != nil || !ok || start.Run.Mode != c.mode {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// TestCronExpressions: each that stands in a template or in its README has six fields, names its days, and has a next date. (AWS counts
// the days of the week from 1, the library that judges from 0, so only names are taken:
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html.)
func TestCronExpressions(t *testing.T) {
	form := regexp.MustCompile(`cron\(([^)]*)\)`)
	found := 0
	for _, pattern := range []string{"template.yaml", "README.md", "infra/aws/*.yaml", "infra/aws/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range form.FindAllStringSubmatch(string(data), -1) {
				if strings.ContainsAny(m[1], `\[`) { // a parameter's pattern
					continue
				}
				found++
				if why := badCron(m[1]); why != "" {
					t.Errorf("%s: cron(%s): %s", f, m[1], why)
				}
			}
		}
	}
	if found == 0 {
		t.Error("found none")
	}
	for expression, bad := range map[string]bool{
		"0 2 * * ? *": false, "30 1 ? * MON-FRI *": false, "0 2 L * ? *": false,
		"0 2 * * *": true, "0 2 * * ? 2019": true, "61 2 * * ? *": true, "0 2 ? * 2 *": true, "0 2 * * * *": true, "0 2 31 2 ? *": true,
	} {
		if why := badCron(expression); (why != "") != bad {
			t.Errorf("cron(%s): %q", expression, why)
		}
	}
}

func badCron(expression string) string {
	fields := strings.Fields(expression)
	switch {
	case len(fields) != 6:
		return "expected six fields: minutes, hours, day of the month, month, day of the week, year"
	case (fields[2] == "?") == (fields[4] == "?"):
		return "expected ? for either the day of the month or the day of the week"
	case strings.ContainsAny(fields[4], "0123456789"):
		return "expected the day of the week by its name"
	}
	e, err := cronexpr.Parse(expression)
	if err != nil {
		return err.Error()
	}
	if e.Next(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)).IsZero() {
		return "it has no next date"
	}
	return ""
}

// TestAlarmsReachTheRules: the small stacks' alarms are of what the parser reads, on the metric that the probe writes.
func TestAlarmsReachTheRules(t *testing.T) {
	all := templates(t)
	for path, want := range map[string][3]string{
		"infra/aws/health-check.yaml": {"AWS/Route53", "HealthCheckStatus", "HealthCheckId"},
		"infra/aws/probe.yaml":        {events.ProbeNamespace, events.ProbeMetric, "Plan"},
	} {
		var a struct {
			Namespace, MetricName, AlarmName, TreatMissingData string
			Dimensions                                         []struct{ Name, Value string }
		}
		decode(t, all[path].Resources["Unhealthy"].Properties, &a)
		if got := [3]string{a.Namespace, a.MetricName, a.Dimensions[0].Name}; got != want || a.AlarmName != "AlarmName" || a.TreatMissingData != "missing" {
			t.Errorf("%s: %+v", path, a)
		}
	}
	definition, err := os.ReadFile("probe.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		TimeoutSeconds int
		States         map[string]struct {
			TimeoutSeconds int
			Retry          []struct {
				ErrorEquals                  []string
				IntervalSeconds, MaxAttempts int
			}
			Catch      []struct{ ErrorEquals []string }
			Parameters struct {
				Namespace  string
				MetricData []struct {
					MetricName string
					Value      int
				}
			}
		}
	}
	decode(t, definition, &machine)
	for state, value := range map[string]int{"Healthy": 1, "Unhealthy": 0} {
		p := machine.States[state].Parameters
		if p.Namespace != events.ProbeNamespace || len(p.MetricData) != 1 || p.MetricData[0].MetricName != events.ProbeMetric || p.MetricData[0].Value != value {
			t.Errorf("%s writes %+v", state, p)
		}
	}
	ask := machine.States["Ask"]
	worst := ask.TimeoutSeconds*(1+ask.Retry[0].MaxAttempts) + ask.Retry[0].IntervalSeconds*ask.Retry[0].MaxAttempts + machine.States["Unhealthy"].TimeoutSeconds
	if worst >= machine.TimeoutSeconds || machine.TimeoutSeconds >= 60 {
		t.Errorf("asking and writing takes %d s, the machine has %d s, and the next begins after 60 s", worst, machine.TimeoutSeconds)
	}
	if len(ask.Catch) != 1 || slices.Contains(ask.Catch[0].ErrorEquals, "States.ALL") || slices.Contains(ask.Catch[0].ErrorEquals, "States.TaskFailed") {
		t.Errorf("%+v: expected only what says that the endpoint does not serve: a probe that cannot ask knows nothing", ask.Catch)
	}
}
