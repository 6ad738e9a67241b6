package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/velero"
)

type creation struct {
	common
	name     string
	ttl      time.Duration
	moveData bool
	wait     time.Duration
}

func createCommand(e Edges) *cobra.Command {
	var f creation
	c := &cobra.Command{
		Use: "create", Short: "Takes a Velero backup of the workload's namespace now, and seals it",
		Long: "Makes a Velero Backup in the cluster, waits until it has ended, and seals it when the plan has a private key.\n" +
			"Regular backups belong to a Velero Schedule (infra/kubernetes/velero).",
		RunE: func(c *cobra.Command, _ []string) error { return f.create(c.Context()) },
	}
	f.bind(c, e)
	c.Flags().StringVar(&f.name, "name", "", "name of the backup (default <plan>-<time>)")
	c.Flags().DurationVar(&f.ttl, "ttl", 0, "how long Velero keeps it (default Velero's own, 30 days)")
	c.Flags().BoolVar(&f.moveData, "move-data", false, "copy the volumes' snapshots into the bucket (needs Velero's node agent)")
	c.Flags().DurationVar(&f.wait, "wait", time.Hour, "how long to wait for its end")
	return c
}

func (f *creation) create(ctx context.Context) error {
	p, v, err := f.plan()
	if err != nil {
		return err
	}
	c, err := f.edges.Connect(ctx, p)
	if err != nil {
		return err
	}
	uid, _, err := backupstep.Identity(ctx, c)
	if uid == "" {
		return fmt.Errorf("read the cluster's identity (namespace kube-system): %w", err)
	}
	if f.name == "" {
		f.name = p.Metadata.Name + "-" + f.edges.Now().UTC().Format("20060102150405")
	}
	made := velero.NewBackup(velero.BackupOptions{Name: f.name, Namespace: v.Namespace, StorageLocation: v.StorageLocation,
		Namespaces: []string{p.Spec.Workload.Namespace}, TTL: f.ttl, MoveData: f.moveData,
		Labels: map[string]string{backup.LabelCluster: uid, change.LabelManagedBy: change.ManagedBy, change.LabelPlan: p.Metadata.Name}})
	_, err = c.Dynamic.Resource(velero.Backups).Namespace(v.Namespace).Create(ctx, made, metav1.CreateOptions{FieldManager: change.FieldManager})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %s of the cluster has no Velero backups (velero.io): is Velero installed? %w", v.Namespace, err)
	}
	if err != nil {
		return fmt.Errorf("make Backup %s/%s: %w", v.Namespace, f.name, err)
	}
	f.sayf("Backup %s/%s of namespace %s", v.Namespace, f.name, p.Spec.Workload.Namespace)
	ended, err := f.await(ctx, c, v)
	if err != nil {
		return err
	}
	if ended.Status.Phase != velero.Completed {
		return notVerified{fmt.Sprintf("Backup %s ended as %s%s", f.name, ended.Status.Phase, because(ended))}
	}
	return f.finish(ctx, p, v)
}

func because(b *velero.Backup) string {
	why := append([]string{}, b.Status.ValidationErrors...)
	if b.Status.FailureReason != "" {
		why = append(why, b.Status.FailureReason)
	}
	if b.Status.Errors > 0 {
		why = append(why, fmt.Sprintf("%d errors", b.Status.Errors))
	}
	if len(why) == 0 {
		return ""
	}
	return ": " + strings.Join(why, "; ")
}

// finish seals the backup, or verifies it where the plan has no private key.
func (f *creation) finish(ctx context.Context, p *plan.Plan, v *plan.Velero) error {
	key, err := f.edges.Key(ctx, p)
	if err != nil {
		return fmt.Errorf("the backup was taken; spec.inventory.velero.integrity.key: %w", err)
	}
	if _, signs := key.(backup.Signer); !signs {
		f.sayf("not sealed: the plan has no private key")
		return f.verify(ctx, f.name)
	}
	verdict, err := f.sealed(ctx, p, f.name)
	if err != nil {
		return fmt.Errorf("the backup was taken and could not be sealed: %w", err)
	}
	if err := f.print(report{Location: v.Location, Chosen: "named", Verified: verdict}); err != nil {
		return err
	}
	if verdict.Status != signal.True {
		return notVerified{fmt.Sprintf("Backup %s was taken and does not verify: %s", f.name, verdict.Reason)}
	}
	return nil
}

// await shows each phase until the backup has ended.
func (f *creation) await(ctx context.Context, c *cluster.Client, v *plan.Velero) (*velero.Backup, error) {
	wait, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	var last *velero.Backup
	said := ""
	source := cluster.Source{GVR: velero.Backups, Namespace: v.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + f.name}}
	ok, err := c.WaitFor(wait, 0, []cluster.Source{source}, func(ctx context.Context) (bool, error) {
		b, err := cluster.Get[velero.Backup](ctx, c, velero.Backups, v.Namespace, f.name)
		if err != nil {
			return false, err
		}
		last = b
		if line := stage(b); line != said {
			said = line
			f.sayf("%s", line)
		}
		return b.Status.Phase.Ended(), nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("wait for Backup %s: %w", f.name, err)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("stopped; Backup %s goes on in the cluster", f.name)
	case !ok && last == nil:
		return nil, errors.New("the cluster did not answer; Backup " + f.name + " may go on")
	case !ok:
		return nil, fmt.Errorf("backup %s is %s after %s; it goes on in the cluster (a Velero server that does not run leaves it New)",
			f.name, or(string(last.Status.Phase), string(velero.New)), f.wait)
	}
	return last, nil
}

func stage(b *velero.Backup) string {
	line := or(string(b.Status.Phase), string(velero.New))
	if n := b.Status.Errors; n > 0 {
		line += fmt.Sprintf(", %d errors", n)
	}
	return line
}

// sayf tells people how far it is, beside the result.
func (f *common) sayf(format string, args ...any) { fmt.Fprintf(f.progress, format+"\n", args...) }
