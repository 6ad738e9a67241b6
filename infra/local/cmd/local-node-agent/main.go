// Command local-node-agent runs the pods of the local stack's simulated nodes until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/shared/cluster"
)

func main() {
	var opt nodeagent.Options
	flag.StringVar(&opt.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	flag.StringVar(&opt.CSISocket, "csi-socket", "", "unix socket of the CSI driver")
	flag.StringVar(&opt.VolumesDir, "volumes-dir", "", "directory of the CSI driver's volumes")
	flag.StringVar(&opt.StateDir, "state-dir", "", "directory of logs and process records")
	flag.StringVar(&opt.BinDir, "bin-dir", "", "directory of the CSI sidecars")
	uid := flag.Int("run-as-uid", -1, "user that databases run as; -1: this one, and postgres or nobody when this one is root")
	gid := flag.Int("run-as-gid", -1, "group that databases run as; -1: the user's")
	flag.Parse()
	if err := run(opt, *uid, *gid); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(opt nodeagent.Options, uid, gid int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.FromKubeconfig(opt.Kubeconfig, "")
	if err != nil {
		return err
	}
	if opt.RunAs, err = nodeagent.ResolveIdentity(uid, gid); err != nil {
		return err
	}
	opt.Client, opt.Log = c.Dynamic, slog.New(slog.NewTextHandler(os.Stderr, nil))
	a, err := nodeagent.New(opt)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
