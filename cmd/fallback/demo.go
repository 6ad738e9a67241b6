package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/localcmd"
	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/cmd/fallback/view"
	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
)

// shop is the sample on a local stack, for the commands that show or measure the whole.
type shop struct {
	options *options
	status  stack.Status
	// plan names the manifest bundle as its inventory, veleroPlan the Velero backups.
	plan, veleroPlan string
	store            runstore.Store
	// stop ends the stack if this command started it.
	stop func() error
}

// openShop uses the default stack, which it starts when it is not running, and brings the sample to its initial state.
func openShop(ctx context.Context, o *options, dir string) (s *shop, err error) {
	if dir == "" {
		if dir, err = stack.DefaultDir(stack.DefaultName); err != nil {
			return nil, err
		}
	}
	s = &shop{options: o, stop: func() error { return nil }}
	if s.store, err = o.store(); err != nil {
		return nil, err
	}
	if s.status, err = stack.StatusOf(ctx, dir); err != nil || !s.status.Running {
		event, done := localcmd.Progress(o.err)
		up, uerr := stack.Up(ctx, stack.Options{Dir: dir, Progress: event})
		done()
		if uerr != nil {
			return nil, uerr
		}
		s.status = up.Status()
		s.stop = func() error {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			return up.Stop(stop)
		}
	}
	say := func(what string) { fmt.Fprintln(o.err, "…", what) }
	d, err := sample.Reset(ctx, sample.Options{Kubeconfig: s.status.Kubeconfig, StackDir: dir, Dir: sample.DefaultDir(dir), Progress: say})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.plan, s.veleroPlan = d.Plan, d.VeleroPlan
	return s, nil
}

// run runs a plan with the live view.
func (s *shop) run(ctx context.Context, mode run.Mode, plan string) (runner.Result, error) {
	r := runner.New(s.store)
	live := &view.Live{W: s.options.err, Terminal: s.options.live()}
	r.OnEvent, r.OnChange = live.Event, live.Change
	running, done := interruptible(ctx, s.options, r)
	defer done()
	res, err := r.Start(running, runner.Request{Mode: mode, PlanPath: plan, Requester: requester()})
	if err != nil {
		return res, couldNotFinish(res, err)
	}
	return res, nil
}

// production reads what a drill must leave alone.
func (s *shop) production(ctx context.Context) (production.Versions, error) {
	c, err := cluster.FromKubeconfig(s.status.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	return production.Read(ctx, c, sample.Namespace)
}

func demoCommand(o *options) *cobra.Command {
	var dir, fault string
	c := &cobra.Command{
		Use: "demo", Short: "the whole story on the local stack: break the sample, recover it, back it up, drill the backup", Args: cobra.NoArgs,
		Long: "Brings the local stack and the sample shop up (the first time this compiles Kubernetes), breaks the shop, recovers it, takes a Velero\n" +
			"backup of it, restores that beside the living shop, and shows that production was left alone. A stack that it started is stopped at the end; its data stays, and\n" +
			"fallback local up starts it again.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			s, err := openShop(ctx, o, dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.stop()) }()
			return s.story(ctx, fault)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "state directory of the stack (default: the default stack's)")
	c.Flags().StringVar(&fault, "fault", "attach-error", "what to break (fallback local break lists them)")
	return c
}

// backup takes a Velero backup of the shop and seals it, as `fallback backup create` does.
func (s *shop) backup(ctx context.Context) error {
	c := backupCommand()
	c.SetArgs([]string{"create", "-f", s.veleroPlan})
	c.SetOut(s.options.out)
	c.SetErr(s.options.out)
	c.SilenceErrors, c.SilenceUsage = true, true
	return c.ExecuteContext(ctx)
}

// story breaks, recovers, backs up and drills.
func (s *shop) story(ctx context.Context, fault string) error {
	w := s.options.out
	fmt.Fprintf(w, "\n── 1. break: %s\n", fault)
	if err := faults.Break(ctx, fault, faults.Options{StackDir: s.status.Dir, Progress: func(t string) { fmt.Fprintln(w, " ", t) }}); err != nil {
		return err
	}
	fmt.Fprintln(w, "\n── 2. fallback recover")
	rec, err := s.run(ctx, run.Recover, s.plan)
	if err != nil {
		return err
	}
	view.Summary(w, s.store.Dir, rec.Run, rec.End.Terminal, rec.End.Error, rec.End.Cause, "")

	fmt.Fprintln(w, "\n── 3. fallback backup create")
	if err := s.backup(ctx); err != nil {
		return err
	}

	fmt.Fprintln(w, "\n── 4. fallback drill, from the backup")
	before, err := s.production(ctx)
	if err != nil {
		return err
	}
	dr, err := s.run(ctx, run.Drill, s.veleroPlan)
	if err != nil {
		return err
	}
	view.Summary(w, s.store.Dir, dr.Run, dr.End.Terminal, dr.End.Error, dr.End.Cause, "")
	after, err := s.production(ctx)
	if err != nil {
		return err
	}
	diff := production.Diff(before, after)
	fmt.Fprintf(w, "\nProduction: %d objects of namespace %s compared by resourceVersion before and after the drill: %s\n", len(before), sample.Namespace, verdict(diff))
	fmt.Fprintf(w, "Time:       recover %s (%s of it waiting for the cluster), drill %s (%s)\n", s.took(rec), s.waited(rec), s.took(dr), s.waited(dr))
	fmt.Fprintf(w, "Runs:       %s\n", s.store.Dir)
	switch {
	case len(diff) > 0:
		return exit{1, errors.New("the drill is not alone in having touched production")}
	case rec.End.Outcome.ExitCode() != 0:
		return exit{rec.End.Outcome.ExitCode(), nil}
	case dr.End.Outcome.ExitCode() != 0:
		return exit{dr.End.Outcome.ExitCode(), nil}
	default:
		return nil
	}
}

func (*shop) took(r runner.Result) string { return r.Took.Round(10 * time.Millisecond).String() }
func (*shop) waited(r runner.Result) string {
	return r.ClusterTook.Round(10 * time.Millisecond).String()
}

func verdict(diff []string) string {
	if len(diff) == 0 {
		return "unchanged"
	}
	const most = 5
	return fmt.Sprintf("%d differ: %v", len(diff), diff[:min(most, len(diff))])
}
