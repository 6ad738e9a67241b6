package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

func benchCommand(o *options) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "bench", Short: "measure recover, drill, restore and the verification of a large backup on the local stack", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, err := openShop(cmd.Context(), o, dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.stop()) }()
			return s.bench(cmd.Context())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "state directory of the stack (default: the default stack's)")
	return c
}

// bench runs make drill's two runs and prints what they cost: total, the time the cluster and the database needed, our own,
// the requests by verb, and how quickly a change in the cluster is noticed.
func (s *shop) bench(ctx context.Context) error {
	if err := faults.Break(ctx, "attach-error", faults.Options{StackDir: s.status.Dir}); err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.options.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tOUTCOME\tTOTAL\tCLUSTER AND DATABASE\tOVERHEAD\tSHARE\tREQUESTS")
	for _, mode := range []run.Mode{run.Recover, run.Drill} {
		from := time.Now()
		res, err := s.run(ctx, mode, s.plan)
		if err != nil {
			return err
		}
		es, err := audit.Read(s.status.AuditLog, audit.Filter{UserAgent: "fallback-chain", From: from})
		if err != nil {
			return err
		}
		own := res.Took - res.ClusterTook
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f %%\t%s\n", mode, res.End.Terminal, s.took(res), s.waited(res), own.Round(time.Millisecond),
			100*own.Seconds()/res.Took.Seconds(), verbs(es))
		if res.End.Outcome != run.Recovered {
			return exit{1, fmt.Errorf("%s ended %s: its figures are not those of a recovery", mode, res.End.Terminal)}
		}
	}
	median, worst, err := detection(ctx, s.status.Kubeconfig)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.options.out, "\ndetection of a change, %d changes: median %s, worst %s\n", detections, median.Round(time.Microsecond), worst.Round(time.Microsecond))
	if err := s.benchRestore(ctx); err != nil {
		return err
	}
	return s.benchVerify(ctx)
}

func verbs(es []audit.Event) string {
	n := audit.ByVerb(es)
	out := fmt.Sprintf("%d:", len(es))
	for _, v := range slices.Sorted(maps.Keys(n)) {
		out += fmt.Sprintf(" %s %d", v, n[v])
	}
	return out
}

// detections is how many changes are timed.
const detections = 50

// detection times from the moment a change was sent to the return of the step's wait for it.
func detection(ctx context.Context, kubeconfig string) (median, worst time.Duration, err error) {
	writer, err := cluster.FromKubeconfig(kubeconfig, "")
	if err != nil {
		return 0, 0, err
	}
	waiter, err := cluster.FromKubeconfig(kubeconfig, "")
	if err != nil {
		return 0, 0, err
	}
	const namespace, name = "default", "fallback-bench"
	configMaps := writer.Dynamic.Resource(cluster.ConfigMaps).Namespace(namespace)
	cm := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}}}
	if _, err := configMaps.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	defer func() {
		err = errors.Join(err, configMaps.Delete(context.WithoutCancel(ctx), name, metav1.DeleteOptions{}))
	}()
	var took []time.Duration
	for i := range detections {
		want := fmt.Sprint(i)
		looked, seen := make(chan struct{}), make(chan error, 1)
		go func() {
			first := true
			ok, err := waiter.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.ConfigMaps, Namespace: namespace}}, func(ctx context.Context) (bool, error) {
				have, err := cluster.Get[corev1.ConfigMap](ctx, waiter, cluster.ConfigMaps, namespace, name)
				if first {
					first = false
					close(looked)
				}
				return err == nil && have.Data["n"] == want, err
			})
			if err == nil && !ok {
				err = ctx.Err()
			}
			seen <- err
		}()
		<-looked
		began := time.Now()
		cm.Object["data"] = map[string]any{"n": want}
		if _, err := configMaps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			return 0, 0, err
		}
		if err := <-seen; err != nil {
			return 0, 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}
