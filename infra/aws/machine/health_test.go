package machine_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"fallbackchain.io/fallback/infra/aws/rights"
	"fallbackchain.io/fallback/shared/awstest"
)

// healthRegion is where Route 53's metrics are, and so the alarm.
const healthRegion = "us-east-1"

// deployHealthCheck makes the stack health-check.yaml in its own Region: the health check, its alarm, and the rule that passes the
// alarm's events to the chain's Region. moto's CloudFormation knows no alarms, so they are made one by one, of the resolved template.
func (b *bed) deployHealthCheck() {
	t := b.t
	text, err := os.ReadFile(filepath.Join("..", "health-check.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := rights.Deployment{Account: awstest.Account, Region: healthRegion, Stack: "fallback-chain-health", Parameters: map[string]string{
		"AlarmName": alarmName, "ChainRegion": region, "EventBusArn": "arn:aws:events:" + region + ":" + awstest.Account + ":event-bus/default",
		"Domain": "shop.example.com", "Path": "/healthz"}}
	s, err := rights.Load(text, d)
	if err != nil {
		t.Fatal(err)
	}
	d.Names = map[string]string{"HealthCheck": b.createHealthCheck(s.Properties("HealthCheck"))}
	if s, err = rights.Load(text, d); err != nil {
		t.Fatal(err)
	}
	b.createAlarm(s.Properties("Unhealthy"), d.Names["HealthCheck"])
	b.deployRulesOf(s, healthRegion, "ForwardRule")
}

// createHealthCheck makes the health check, and compares what Route 53 then has with the template.
func (b *bed) createHealthCheck(properties map[string]any) (id string) {
	t := b.t
	config, _ := properties["HealthCheckConfig"].(map[string]any)
	if config["Type"] != "HTTPS" || config["FullyQualifiedDomainName"] != "shop.example.com" || config["ResourcePath"] != "/healthz" {
		t.Fatalf("the template's health check is %v", config)
	}
	var fields strings.Builder
	for name, v := range config {
		fmt.Fprintf(&fields, "<%[1]s>%[2]v</%[1]s>", name, v)
	}
	body := `<CreateHealthCheckRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><CallerReference>one</CallerReference>` +
		"<HealthCheckConfig>" + fields.String() + "</HealthCheckConfig></CreateHealthCheckRequest>"
	if said, err := b.call(http.MethodPost, "route53", healthRegion, "/2013-04-01/healthcheck", "text/xml", "", []byte(body)); err != nil {
		t.Fatalf("create the health check: %s %v", said, err)
	}
	said, err := b.call(http.MethodGet, "route53", healthRegion, "/2013-04-01/healthcheck", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var have struct {
		Checks []struct {
			ID     string `xml:"Id"`
			Config struct {
				Fields []struct {
					XMLName xml.Name
					Value   string `xml:",chardata"`
				} `xml:",any"`
			} `xml:"HealthCheckConfig"`
		} `xml:"HealthChecks>HealthCheck"`
	}
	if err := xml.Unmarshal(said, &have); err != nil || len(have.Checks) != 1 {
		t.Fatalf("Route 53 has the health checks %s (%v), want one", said, err)
	}
	got := map[string]string{}
	for _, f := range have.Checks[0].Config.Fields {
		got[f.XMLName.Local] = f.Value
	}
	for name, v := range config {
		if !strings.EqualFold(got[name], fmt.Sprint(v)) {
			t.Errorf("the health check's %s is %q, want %v", name, got[name], v)
		}
	}
	return have.Checks[0].ID
}

// createAlarm makes the alarm, and holds what CloudWatch then has against the template and the health check.
func (b *bed) createAlarm(properties map[string]any, healthCheck string) {
	t := b.t
	form := url.Values{}
	flatten(form, "", properties)
	if said, err := b.cloudWatch("PutMetricAlarm", form); err != nil {
		t.Fatalf("make the alarm: %s %v", said, err)
	}
	said, err := b.cloudWatch("DescribeAlarms", url.Values{"AlarmNames.member.1": {alarmName}})
	if err != nil {
		t.Fatal(err)
	}
	type dimension struct{ Name, Value string }
	var have struct {
		Alarms []struct {
			AlarmArn, Namespace, MetricName, Statistic, ComparisonOperator, TreatMissingData string
			Period, EvaluationPeriods, DatapointsToAlarm, Threshold                          json.Number
			Dimensions                                                                       []dimension `xml:"Dimensions>member"`
		} `xml:"DescribeAlarmsResult>MetricAlarms>member"`
	}
	if err := xml.Unmarshal(said, &have); err != nil || len(have.Alarms) != 1 {
		t.Fatalf("CloudWatch has the alarms %s (%v), want one", said, err)
	}
	a := have.Alarms[0]
	if len(a.Dimensions) != 1 || a.Dimensions[0] != (dimension{"HealthCheckId", healthCheck}) || healthCheck == "" {
		t.Errorf("the alarm's dimensions are %v, want the health check %s", a.Dimensions, healthCheck)
	}
	if want := "arn:aws:cloudwatch:" + healthRegion + ":" + awstest.Account + ":alarm:" + alarmName; a.AlarmArn != want {
		t.Errorf("the alarm is %s, want %s", a.AlarmArn, want)
	}
	got := map[string]string{"Namespace": a.Namespace, "MetricName": a.MetricName, "Statistic": a.Statistic, "ComparisonOperator": a.ComparisonOperator,
		"TreatMissingData": a.TreatMissingData, "Period": number(a.Period), "EvaluationPeriods": number(a.EvaluationPeriods),
		"DatapointsToAlarm": number(a.DatapointsToAlarm), "Threshold": number(a.Threshold)}
	want := map[string]string{}
	for name := range got {
		want[name] = fmt.Sprint(properties[name])
	}
	if !maps.Equal(got, want) {
		t.Errorf("the alarm is %v, want %v", got, want)
	}
}

// number is a number without a fraction that is nothing.
func number(n json.Number) string { return strings.TrimSuffix(n.String(), ".0") }

// flatten puts a template's properties into a form of the query protocol.
func flatten(form url.Values, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			flatten(form, strings.TrimPrefix(prefix+"."+name, "."), e)
		}
	case []any:
		for i, e := range v {
			flatten(form, fmt.Sprintf("%s.member.%d", prefix, i+1), e)
		}
	default:
		form.Set(prefix, fmt.Sprint(v))
	}
}
