package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/awsrun"
	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/cmd/fallback/view"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/statemachine/chain"
)

// machineVariable names the state machine when --state-machine does not.
const machineVariable = "FALLBACK_STATE_MACHINE"

// awsOptions are the flags of what runs in AWS.
type awsOptions struct {
	enabled bool
	machine string
}

func (a *awsOptions) flags(c *cobra.Command) {
	c.Flags().BoolVar(&a.enabled, "aws", false, "run in AWS: start the Step Functions execution and follow it")
	c.Flags().StringVar(&a.machine, "state-machine", os.Getenv(machineVariable), "ARN of the state machine, with --aws (default $"+machineVariable+")")
}

var machineARN = regexp.MustCompile(`^arn:[a-z-]+:states:([a-z0-9-]+):[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}(:[A-Za-z0-9_-]+)?$`)

// client reaches Step Functions in the Region of the state machine. Endpoint and credentials come from the SDK's own
// configuration (AWS_PROFILE, AWS_ENDPOINT_URL, ...).
func (a awsOptions) client(ctx context.Context) (*sfn.Client, error) {
	m := machineARN.FindStringSubmatch(a.machine)
	if m == nil {
		return nil, fmt.Errorf("--state-machine %q: expected the ARN of a state machine (arn:aws:states:REGION:ACCOUNT:stateMachine:NAME), or set %s", a.machine, machineVariable)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(m[1]))
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	return sfn.NewFromConfig(cfg), nil
}

// awsInput is the input of a manual execution. The functions read the plan from S3, so the plan is named by its S3 URI.
func awsInput(mode run.Mode, planURI string, now time.Time) (run.Run, error) {
	if !strings.HasPrefix(planURI, "s3://") {
		return run.Run{}, fmt.Errorf("-f %s: with --aws the plan is read by the functions, expected s3://BUCKET/KEY.yaml", planURI)
	}
	name := strings.TrimSuffix(strings.TrimSuffix(path.Base(planURI), ".yaml"), ".yml")
	now = now.UTC().Truncate(time.Millisecond)
	who := requester()
	id, err := runid.New(name, mode, now, fmt.Sprintf("%s/%s/%d", planURI, who, now.UnixNano()))
	if err != nil {
		return run.Run{}, fmt.Errorf("-f %s: the file's name is the plan's name: %w", planURI, err)
	}
	return run.Run{ID: id, Mode: mode, StartedAt: now, Plan: run.PlanRef{Name: name, URI: planURI},
		Trigger: run.Trigger{Kind: run.Manual, ID: id, At: now, Requester: who}, Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{}}, nil
}

// startAWS starts an execution and follows it with the view that local runs have. Ctrl-C ends following, not the run.
func startAWS(ctx context.Context, o *options, a awsOptions, mode run.Mode, planURI string) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	in, err := awsInput(mode, planURI, time.Now())
	if err != nil {
		return err
	}
	arn, err := awsrun.Start(ctx, client, a.machine, in)
	if err != nil {
		return err
	}
	machine, err := chain.Fallback().Expand()
	if err != nil {
		return err
	}
	live := &view.Live{W: o.err, Terminal: o.live()}
	follow := awsrun.Options{Machine: machine}
	if !o.json() {
		fmt.Fprintln(o.err, "execution", arn)
		follow.OnEvent = live.Event
	}
	began := time.Now()
	res, err := awsrun.Follow(ctx, client, arn, follow)
	if err != nil {
		return fmt.Errorf("%w; the run goes on: fallback show --aws %s", err, in.ID)
	}
	out := runner.Result{Run: in, Path: res.Path, Took: time.Since(began), End: runstore.End{Terminal: res.Terminal, Error: res.Error, Cause: res.Cause, At: time.Now().UTC()}}
	if len(res.Output) > 0 {
		if err := json.Unmarshal(res.Output, &out.Run); err != nil {
			return fmt.Errorf("execution %s: its output is no run: %w", arn, err)
		}
	}
	out.End.Outcome = out.Run.Ended(res.Terminal)
	return o.finish("", out)
}

// runsAWS lists the newest runs of the machine.
func runsAWS(ctx context.Context, o *options, a awsOptions) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	const most = 50
	all, err := awsrun.List(ctx, client, a.machine, most)
	if err != nil {
		return err
	}
	if o.json() {
		return json.NewEncoder(o.out).Encode(all)
	}
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tPLAN\tMODE\tSTARTED\tSTATUS")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Plan, s.Mode, s.StartedAt.Local().Format(time.DateTime), s.Status)
	}
	return w.Flush()
}

// showAWS prints one run's newest state.
func showAWS(ctx context.Context, o *options, a awsOptions, id string) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	arn, err := awsrun.ExecutionARN(a.machine, id)
	if err != nil {
		return err
	}
	d, err := awsrun.Describe(ctx, client, arn)
	if err != nil {
		return err
	}
	if o.json() {
		return json.NewEncoder(o.out).Encode(d)
	}
	view.Summary(o.out, "", d.Run, d.Status, d.Error, d.Cause, "")
	return nil
}

// abortAWS stops the execution; the janitor undoes what it did.
func abortAWS(ctx context.Context, o *options, a awsOptions, id string) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	arn, err := awsrun.ExecutionARN(a.machine, id)
	if err != nil {
		return err
	}
	if err := awsrun.Abort(ctx, client, arn, requester()); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "run %s was stopped; the janitor undoes its changes\n", id)
	return nil
}
