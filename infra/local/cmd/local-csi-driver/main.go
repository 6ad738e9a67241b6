// Command local-csi-driver serves the local stack's CSI driver on a unix socket until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"fallbackchain.io/fallback/infra/local/csidriver"
)

func main() { os.Exit(serve()) }

func serve() int {
	endpoint := flag.String("endpoint", "csi.sock", "unix socket to serve on")
	var opt csidriver.Options
	flag.StringVar(&opt.StateDir, "state-dir", "csi-state", "directory of volumes, snapshots, faults and the driver's records")
	flag.StringVar(&opt.Name, "driver-name", csidriver.DefaultName, "name of the driver")
	flag.StringVar(&opt.NodeID, "node-id", "local", "node this driver stands for")
	flag.StringVar(&opt.NodePrefix, "node-prefix", "", "what the IDs of all other nodes begin with; empty accepts every node")
	flag.Int64Var(&opt.Capacity, "capacity", csidriver.DefaultCapacity, "bytes that all volumes together may claim")
	flag.Parse()
	opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d, err := csidriver.New(opt)
	if err == nil {
		err = d.Serve(ctx, *endpoint)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
