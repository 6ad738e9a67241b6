package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

// benchTimeout bounds each program and wait of the benchmarks.
const benchTimeout = 5 * time.Minute

// benchRestore compares the drill of a backup with what Velero alone needs to restore it into another namespace, until the same
// StatefulSet is ready.
func (s *shop) benchRestore(ctx context.Context) error {
	c, err := cluster.FromKubeconfig(s.status.Kubeconfig, "")
	if err != nil {
		return err
	}
	name := "bench-" + time.Now().UTC().Format("20060102150405")
	took, err := s.benchVelero(ctx, c, name)
	if err != nil {
		return err
	}
	res, err := s.run(ctx, run.Drill, s.veleroPlan)
	if err != nil {
		return err
	}
	r := res.Run.Restore
	if res.End.Outcome != run.Recovered || r == nil || r.ReadyAt == nil || r.ObjectsAt == nil {
		return exit{1, fmt.Errorf("the drill ended %s: its figures are not those of a restore", res.End.Terminal)}
	}
	var made time.Time // the Restore is the last that its state makes
	for _, v := range res.Path {
		if v.State == "RestoreIntoQuarantine" {
			made = v.At.Add(v.Took)
		}
	}
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	w := tabwriter.NewWriter(s.options.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nRESTORE OF THE SAME BACKUP\tOBJECTS\tVOLUMES AND PODS READY\tWITH EVERYTHING AROUND IT")
	fmt.Fprintf(w, "velero restore create --wait\t%s\t%s\t-\n", round(took.command), round(took.ready))
	fmt.Fprintf(w, "fallback drill\t%s\t%s\t%s (verified, isolated, gated, torn down)\n", round(r.ObjectsAt.Sub(made)), round(r.ReadyAt.Sub(made)), round(res.Took))
	return w.Flush()
}

type restoreTimes struct{ command, ready time.Duration }

// benchVelero takes a backup, seals it, restores it by Velero's own command, and takes away what came of that.
func (s *shop) benchVelero(ctx context.Context, c *cluster.Client, name string) (took restoreTimes, err error) {
	if err := s.backup(ctx); err != nil {
		return took, err
	}
	var newest *velero.Backup
	all, err := cluster.List[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, metav1.ListOptions{})
	if err != nil {
		return took, err
	}
	for i := range all {
		if t := all[i].Status.CompletionTimestamp; t != nil && (newest == nil || newest.Status.CompletionTimestamp.Before(t)) {
			newest = &all[i]
		}
	}
	if newest == nil {
		return took, errors.New("there is no backup of the shop")
	}
	defer func() { err = errors.Join(err, unrestore(context.WithoutCancel(ctx), c, name)) }()
	from := time.Now()
	out, err := s.velero(ctx, "restore", "create", name, "--from-backup", newest.Name, "--include-namespaces", sample.Namespace,
		"--namespace-mappings", sample.Namespace+":"+name, "--wait").CombinedOutput()
	took.command = time.Since(from)
	if err != nil {
		return took, fmt.Errorf("velero restore create: %w: %s", err, out)
	}
	wait, cancel := context.WithTimeoutCause(ctx, benchTimeout, fmt.Errorf("it was not ready within %s", benchTimeout))
	defer cancel()
	err = sample.AwaitReady(wait, c, name)
	took.ready = time.Since(from)
	return took, err
}

// velero is a command of the stack's own Velero client.
func (s *shop) velero(ctx context.Context, args ...string) *exec.Cmd {
	// The stack links every program of its own below bin.
	cmd := exec.CommandContext(ctx, filepath.Join(s.status.Dir, "bin", stack.Velero), append([]string{
		"--kubeconfig", s.status.Kubeconfig, "--namespace", stack.VeleroNamespace}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// unrestore deletes what a restore by hand has made. The backup's snapshots stay.
func unrestore(ctx context.Context, c *cluster.Client, name string) error {
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	contents := c.Dynamic.Resource(cluster.VolumeSnapshotContents)
	own := metav1.ListOptions{LabelSelector: velero.LabelRestore + "=" + name}
	list, err := contents.List(ctx, own)
	if err != nil {
		return err
	}
	for _, u := range list.Items {
		if _, err := contents.Patch(ctx, u.GetName(), types.MergePatchType, []byte(change.KeepSnapshot), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	ns := c.Dynamic.Resource(cluster.Namespaces)
	// The workload first: a namespace with running pods goes slowly.
	err = errors.Join(
		ignoreGone(c.Dynamic.Resource(cluster.StatefulSets).Namespace(name).Delete(ctx, sample.StatefulSet, metav1.DeleteOptions{})),
		ignoreGone(ns.Delete(ctx, name, metav1.DeleteOptions{})))
	if err != nil {
		return err
	}
	ok, err := c.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.Namespaces}}, func(ctx context.Context) (bool, error) {
		_, err := ns.Get(ctx, name, metav1.GetOptions{})
		return isGone(err), ignoreGone(err)
	})
	if err == nil && !ok {
		err = fmt.Errorf("namespace %s is not gone: %w", name, ctx.Err())
	}
	for _, u := range list.Items {
		err = errors.Join(err, ignoreGone(contents.Delete(ctx, u.GetName(), metav1.DeleteOptions{})))
	}
	return errors.Join(err, ignoreGone(c.Dynamic.Resource(velero.Restores).Namespace(stack.VeleroNamespace).Delete(ctx, name, metav1.DeleteOptions{})))
}
