// Package awsio holds admit's adapters to AWS: alarms in CloudWatch, earlier runs in Step Functions.
package awsio

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"fallbackchain.io/fallback/functions/admit"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
)

// AlarmDescriber describes alarms.
type AlarmDescriber interface {
	DescribeAlarms(context.Context, *cloudwatch.DescribeAlarmsInput, ...func(*cloudwatch.Options)) (*cloudwatch.DescribeAlarmsOutput, error)
}

// Alarms reads alarms from CloudWatch.
type Alarms struct{ CloudWatch AlarmDescriber }

// State asks in the alarm's own Region: Route 53's metrics, and so their alarms, are in us-east-1
// (https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/monitoring-health-checks.html). An alarm that is not found is
// InputInvalid: what was deleted says neither ALARM nor OK.
func (a Alarms) State(ctx context.Context, arn string) (admit.AlarmState, error) {
	// arn:PARTITION:cloudwatch:REGION:ACCOUNT:alarm:NAME; a name may have colons.
	part := strings.SplitN(arn, ":", 7)
	if len(part) != 7 || part[6] == "" {
		return "", fault.Newf(fault.InputInvalid, "read alarm", "%q: expected the ARN of a CloudWatch alarm", arn)
	}
	out, err := a.CloudWatch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
		AlarmNames: []string{part[6]},
		// Composite alarms start no run (events.Alarm), and to be told of them the right would have to be scoped to *, not to alarms
		// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html).
		AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm},
	}, func(o *cloudwatch.Options) { o.Region = part[3] })
	if err != nil {
		return "", awsfault.Fault("describe alarm "+part[6]+" in "+part[3], err)
	}
	for _, m := range out.MetricAlarms {
		if m.AlarmArn != nil && *m.AlarmArn == arn {
			return known(m.StateValue)
		}
	}
	return "", fault.Newf(fault.InputInvalid, "describe alarm "+part[6]+" in "+part[3], "there is no alarm %s any more", arn)
}

func known(v types.StateValue) (admit.AlarmState, error) {
	switch s := admit.AlarmState(v); s {
	case admit.StateOK, admit.StateAlarm, admit.StateInsufficientData:
		return s, nil
	}
	return "", fmt.Errorf("the alarm's state is %q: expected OK, ALARM or INSUFFICIENT_DATA", v)
}
