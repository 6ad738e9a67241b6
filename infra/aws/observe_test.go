package aws_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/telemetry"
)

// TestAlarmsAndDashboardAreOfWhatIsWritten: every metric of ours that is looked at is written, with those dimensions; what a run can end
// with is on the dashboard.
func TestAlarmsAndDashboardAreOfWhatIsWritten(t *testing.T) {
	d := read(t)
	var board struct{ DashboardBody string }
	decode(t, d.Resources["Dashboard"].Properties, &board)
	shown := map[string]bool{}
	search := regexp.MustCompile(`SEARCH\('\{FallbackChain,([A-Za-z,]+)\} MetricName=\\"([A-Za-z]+)\\"', '[A-Z][a-z]+'\)`)
	for _, m := range search.FindAllStringSubmatch(board.DashboardBody, -1) {
		shown[m[2]] = true
		if !slices.Contains(telemetry.Metrics, m[2]) || m[1] != telemetry.Plan && m[1] != telemetry.Plan+","+telemetry.Mode {
			t.Errorf("the dashboard looks for %s of %s, which nobody writes", m[2], m[1])
		}
	}
	for _, m := range telemetry.Metrics {
		if m != telemetry.Runs && !shown[m] { // the sum of the outcomes
			t.Errorf("%s is not on the dashboard", m)
		}
	}
	body := strings.NewReplacer("${!PROP('Dim.Plan')}", "plan", "${!PROP('Dim.Mode')}", "mode").Replace(board.DashboardBody)
	var widgets struct {
		Widgets []struct {
			Type       string
			X, Y       int
			Properties struct {
				Title, Region, View, Stat string
				Period                    int
				Metrics                   [][]any
			}
		}
	}
	decode(t, []byte(body), &widgets)
	at := map[[2]int]string{}
	for _, w := range widgets.Widgets {
		if other := at[[2]int{w.X, w.Y}]; other != "" || w.Properties.Title == "" || len(w.Properties.Metrics) == 0 || w.Properties.Region != "${AWS::Region}" {
			t.Errorf("%+v lies on %q, or shows nothing", w, other)
		}
		at[[2]int{w.X, w.Y}] = w.Properties.Title
	}
	if len(at) < 6 {
		t.Errorf("%d widgets", len(at))
	}

	var dirty struct{ Metrics []struct{ Expression string } }
	decode(t, d.Resources["DirtyRuns"].Properties, &dirty)
	if want := "SELECT SUM(" + telemetry.RunsDirty + ") FROM SCHEMA(" + telemetry.Namespace + ", " + telemetry.Plan + ")"; dirty.Metrics[0].Expression != want {
		t.Errorf("dirty runs: %q, expected %q", dirty.Metrics[0].Expression, want)
	}
	var overdue struct {
		EvaluationPeriods, DatapointsToAlarm string
		TreatMissingData, ComparisonOperator string
		Metrics                              []struct {
			ID         string
			Expression string
			MetricStat struct {
				Period int
				Metric struct {
					Namespace, MetricName string
					Dimensions            []struct{ Name, Value string }
				}
			}
		}
	}
	decode(t, d.Resources["DrillOverdue"].Properties, &overdue)
	of := overdue.Metrics[1]
	if m := of.MetricStat.Metric; overdue.Metrics[0].Expression != "FILL("+of.ID+", 0)" || m.Namespace != telemetry.Namespace || m.MetricName != telemetry.RunsRecovered ||
		len(m.Dimensions) != 2 || m.Dimensions[0].Name != telemetry.Plan || m.Dimensions[1].Name != telemetry.Mode || m.Dimensions[1].Value != string(run.Drill) {
		t.Errorf("%+v: expected successful drills, filled with 0", overdue)
	}
	var p map[string]struct{ MaxValue int }
	decode(t, d.Parameters, &p)
	if overdue.EvaluationPeriods != "DrillMaxAgeDays" || overdue.DatapointsToAlarm != overdue.EvaluationPeriods || of.MetricStat.Period*p["DrillMaxAgeDays"].MaxValue > 7*86400 ||
		overdue.TreatMissingData != "breaching" || overdue.ComparisonOperator != "LessThanThreshold" {
		t.Errorf("%+v: expected each of so many days without, 7 at most", overdue)
	}
}

// TestAlarmsTell: each alarm tells somebody, of resources that exist, and takes no more metrics than CloudWatch lets it.
func TestAlarmsTell(t *testing.T) {
	named := map[string]bool{}
	for path, d := range templates(t) {
		for name, r := range d.Resources {
			if r.Type != "AWS::CloudWatch::Alarm" {
				continue
			}
			named[name] = true
			var a struct {
				AlarmDescription, TreatMissingData string
				AlarmActions                       []string
				Metrics                            []json.RawMessage
			}
			decode(t, r.Properties, &a)
			if len(a.AlarmActions) != 1 || !strings.HasPrefix(a.AlarmActions[0], "Attention") || a.AlarmDescription == "" || a.TreatMissingData == "" || len(a.Metrics) > 10 {
				t.Errorf("%s: %s: %+v", path, name, a)
			}
		}
	}
	for _, want := range []string{"FailedRuns", "TimedOutRuns", "StoppedRuns", "DirtyRuns", "DrillOverdue", "UndeliveredEvents", "FunctionErrors", "ThrottledSteps", "ThrottledMoreSteps"} {
		if !named[want] {
			t.Errorf("there is no alarm %s", want)
		}
	}
	d := read(t)
	text := string(d.Resources["ThrottledSteps"].Properties) + string(d.Resources["ThrottledMoreSteps"].Properties)
	for name := range d.functions(t) {
		if !strings.Contains(text, `"`+name+`"`) && name != "JanitorFunction" && name != "SealFunction" { // those wait in Lambda's queue
			t.Errorf("nobody hears that %s is throttled", name)
		}
	}
}

// told is what a rule says of an execution, in the lines that EventBridge makes
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html).
func told(t *testing.T, rule string, sample []byte) (said string, detail map[string]any) {
	t.Helper()
	var r struct {
		Targets []struct {
			Arn              string
			InputTransformer struct {
				InputPathsMap map[string]string
				InputTemplate []any
			}
		}
	}
	decode(t, read(t).Resources[rule].Properties, &r)
	if len(r.Targets) != 1 || r.Targets[0].Arn != "Attention" {
		t.Fatalf("%s: %+v: expected the topic", rule, r.Targets)
	}
	var event map[string]any
	decode(t, sample, &event)
	detail = event["detail"].(map[string]any)
	in := r.Targets[0].InputTransformer
	text := strings.NewReplacer("${AWS::Region}", "eu-central-1", "${Domain}", "console.aws.amazon.com", "${EvidenceBucket}", "evidence").Replace(in.InputTemplate[0].(string))
	for name, path := range in.InputPathsMap {
		v, _ := detail[strings.TrimPrefix(path, "$.detail.")].(string)
		if v == "" {
			t.Errorf("%s: the sample has no %s", name, path)
		}
		text = strings.ReplaceAll(text, "<"+name+">", v)
	}
	for _, l := range strings.Split(text, "\n") { // each line is a text of its own
		var line string
		if err := json.Unmarshal([]byte(l), &line); err != nil || strings.Contains(line, "<") {
			t.Errorf("%s: %v", l, err)
		}
		said += line + "\n"
	}
	return said, detail
}

// TestNotRecoveredTellsWhere: the mail names run, outcome and the report's own place.
func TestNotRecoveredTellsWhere(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join(root, "events", "testdata", "execution-failed-by-graph.json"))
	if err != nil {
		t.Fatal(err)
	}
	text, detail := told(t, "NotRecoveredRule", sample)
	for _, want := range []string{detail["name"].(string), detail["error"].(string), "eu-central-1.console.aws.amazon.com/s3/object/evidence?region=eu-central-1&prefix=runs/" + detail["name"].(string) + "/report.html"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	report, err := os.ReadFile(filepath.Join(root, "functions", "report", "report.go"))
	if err != nil || !strings.Contains(string(report), `"report.html"`) {
		t.Errorf("the report function writes no report.html (%v)", err)
	}
}

// TestRefusedTellsWhy: a run that was not admitted has no report: the mail says what that means and where the fault is, and links none.
func TestRefusedTellsWhy(t *testing.T) {
	text, detail := told(t, "RefusedRule", variants(t)["execution-refused"])
	for _, want := range []string{"Run " + detail["name"].(string) + " did not recover: FAILED Refused.\n", detail["cause"].(string), "There is no report", "executions/details/" + detail["executionArn"].(string)} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	if strings.Contains(text, "report.html") {
		t.Errorf("%s\nlinks a report, which a refused run does not have", text)
	}
}
