// Package inventorycmd is the command "fallback inventory": capture, verify.
package inventorycmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/signal"
)

// New returns the command.
func New() *cobra.Command {
	c := &cobra.Command{Use: "inventory", Short: "Captures and verifies what should exist"}
	c.AddCommand(captureCommand(), verifyCommand())
	return c
}

func captureCommand() *cobra.Command {
	var file, dir string
	c := &cobra.Command{
		Use: "capture", Short: "Writes the workload's objects and snapshots to a manifest bundle", Args: cobra.NoArgs,
		Long: "Reads the plan's namespace and what it needs of the rest of the cluster, and writes a manifest bundle with digests.\n" +
			"The cluster is only read. The bundle holds the namespace's Secrets: it is readable by its owner alone.",
		RunE: func(c *cobra.Command, _ []string) error {
			return capture(c.Context(), c.OutOrStdout(), file, dir)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the plan")
	c.Flags().StringVarP(&dir, "output-dir", "o", "", "directory of the bundle (default the plan's spec.inventory.manifests.path)")
	cobra.CheckErr(c.MarkFlagRequired("file"))
	return c
}

func verifyCommand() *cobra.Command {
	var file, output string
	c := &cobra.Command{
		Use: "verify", Short: "Tells whether the plan's bundle can be trusted", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: expected text or json", output)
			}
			return verify(c.Context(), c.OutOrStdout(), file, output)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the plan")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cobra.CheckErr(c.MarkFlagRequired("file"))
	return c
}

// connect reaches the plan's cluster.
func connect(p *plan.Plan) (*cluster.Client, error) {
	k := p.Spec.Cluster.Kubeconfig
	if k == nil {
		return nil, errors.New("the plan's cluster is spec.cluster.eks, expected spec.cluster.kubeconfig: capture and verify reach the cluster through a kubeconfig")
	}
	return cluster.FromKubeconfig(k.Path, k.Context)
}

// bundleDir is the directory of the plan's bundle.
func bundleDir(p *plan.Plan) (string, error) {
	inv := p.Spec.Inventory
	if inv == nil || inv.Manifests == nil {
		return "", errors.New("the plan has no spec.inventory.manifests.path, expected a directory")
	}
	if strings.HasPrefix(inv.Manifests.Path, "s3://") {
		return "", fmt.Errorf("spec.inventory.manifests.path is %s: a directory is expected here; capture with -o DIR and copy it there", inv.Manifests.Path)
	}
	return inv.Manifests.Path, nil
}

func capture(ctx context.Context, out io.Writer, file, dir string) error {
	p, err := plan.Load(file)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = bundleDir(p); err != nil {
			return err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	c, err := connect(p)
	if err != nil {
		return err
	}
	m, err := inventory.Capture(ctx, inventory.NewReader(c), optionsOf(p), dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d objects and %d snapshots of namespace %s, Kubernetes %s\n", dir, len(m.Files), len(m.Snapshots), m.Namespace, m.KubernetesVersion)
	for _, s := range m.Snapshots {
		if err == nil {
			_, err = fmt.Fprintf(out, "  claim %s: snapshot %s of %s\n", s.Claim, s.Handle, s.TakenAt.Format(time.RFC3339))
		}
	}
	return err
}

func optionsOf(p *plan.Plan) inventory.Options {
	o := inventory.Options{Namespace: p.Spec.Workload.Namespace, StatefulSet: p.Spec.Workload.StatefulSet}
	if c := p.Spec.Volumes.Controller; c != nil {
		o.Controller = types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	}
	return o
}

func verify(ctx context.Context, out io.Writer, file, output string) error {
	p, err := plan.Load(file)
	if err != nil {
		return err
	}
	dir, err := bundleDir(p)
	if err != nil {
		return err
	}
	c, err := connect(p)
	if err != nil {
		return err
	}
	target, err := targetOf(ctx, p, c)
	if err != nil {
		return err
	}
	r := inventory.VerifyDir(ctx, dir, time.Now(), target, p.Spec.Inventory.MaxAge.D())
	if err := printResult(out, dir, r, output); err != nil {
		return err
	}
	if r.Status != signal.True {
		return fmt.Errorf("the bundle in %s does not verify: %s", dir, r.Reason)
	}
	return nil
}

// targetOf reads what the bundle must belong to.
func targetOf(ctx context.Context, p *plan.Plan, c *cluster.Client) (inventory.Target, error) {
	t := inventory.Target{Namespace: p.Spec.Workload.Namespace, StatefulSet: p.Spec.Workload.StatefulSet}
	r := inventory.NewReader(c)
	system, err := r.Get(ctx, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		return t, fmt.Errorf("the cluster's identity (namespace kube-system): %w", err)
	}
	t.ClusterUID = string(system.GetUID())
	if t.KubernetesVersion, err = r.Version(ctx); err != nil {
		return t, fmt.Errorf("the cluster's version: %w", err)
	}
	return t, nil
}

func printResult(out io.Writer, dir string, r inventory.Result, output string) error {
	if output == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	lines := []string{fmt.Sprintf("%s: %s (%s): %s", dir, r.Status, r.Reason, r.Message)}
	for _, f := range r.Findings {
		lines = append(lines, "  "+f.String())
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}
