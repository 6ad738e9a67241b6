// Package csidriver is a CSI driver whose volumes are directories and whose snapshots are real copies of them. It serves the
// local stack in the place of a storage system: the real provisioner, attacher and snapshotter speak to it, it records where a
// volume is attached and refuses a second node, and it can be told to fail (see Fault).
package csidriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"fallbackchain.io/fallback/infra/local/csidriver/inuse"
)

// DefaultName is the driver's name in CSIDriver, StorageClass and CSINode.
const DefaultName = "local.csi.fallbackchain.io"

// TopologyKey is the node label that holds a node's zone; a volume is reachable from the nodes of its zones only: those that
// were asked for when it was made.
const TopologyKey = "topology.local.csi.fallbackchain.io/zone"

// DefaultZone is the zone of volumes that were requested without topology, and of the driver's own node.
const DefaultZone = "local-a"

// DefaultCapacity is the bytes all volumes together may claim.
const DefaultCapacity = 100 << 30

// Options of a driver. StateDir is required.
type Options struct {
	Name     string
	StateDir string
	// Capacity in bytes; DefaultCapacity when 0.
	Capacity int64
	// NodeID is the node the driver itself stands for (NodeGetInfo).
	NodeID string
	// NodePrefix is what every other node's ID begins with; empty accepts every node, as the driver cannot know the cluster's.
	NodePrefix string
	Log        *slog.Logger
	Now        func() time.Time
}

// Driver serves the three CSI services.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	opt   Options
	state *store
}

// VolumesDir is where a driver with this state directory keeps its volumes, one directory each, named by volume handle.
func VolumesDir(stateDir string) string { return filepath.Join(stateDir, "volumes") }

// FaultsDir is where a driver with this state directory looks for faults, one JSON file each.
func FaultsDir(stateDir string) string { return filepath.Join(stateDir, "faults") }

func snapshotsDir(stateDir string) string { return filepath.Join(stateDir, "snapshots") }

// New opens the state directory (made when missing) and finishes what a killed driver left half done.
func New(opt Options) (*Driver, error) {
	if opt.StateDir == "" {
		return nil, errors.New("csidriver: StateDir is empty, expected a directory")
	}
	if opt.Name == "" {
		opt.Name = DefaultName
	}
	if opt.Capacity == 0 {
		opt.Capacity = DefaultCapacity
	}
	if opt.NodeID == "" {
		opt.NodeID = "local"
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	for _, d := range []string{opt.StateDir, VolumesDir(opt.StateDir), snapshotsDir(opt.StateDir), FaultsDir(opt.StateDir)} {
		// 0755: a database that does not run as the driver's user passes through these.
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("csidriver: state directory: %w", err)
		}
	}
	if err := removeUnfinished(opt.StateDir); err != nil {
		return nil, fmt.Errorf("csidriver: unfinished copies: %w", err)
	}
	// A driver that was killed in the middle of a snapshot left the volume's users stopped.
	if err := inuse.ThawAll(VolumesDir(opt.StateDir)); err != nil {
		return nil, fmt.Errorf("csidriver: thaw: %w", err)
	}
	st, err := openStore(filepath.Join(opt.StateDir, "state.json"))
	if err != nil {
		return nil, err
	}
	return &Driver{opt: opt, state: st}, nil
}

func removeUnfinished(stateDir string) error {
	for _, d := range []string{VolumesDir(stateDir), snapshotsDir(stateDir)} {
		es, err := os.ReadDir(d)
		if err != nil {
			return err
		}
		for _, e := range es {
			if strings.HasSuffix(e.Name(), unfinished) {
				if err := os.RemoveAll(filepath.Join(d, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Serve listens on the unix socket at endpoint ("unix:///path" or a path) until ctx ends.
func (d *Driver) Serve(ctx context.Context, endpoint string) error {
	path := strings.TrimPrefix(endpoint, "unix://")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("csidriver: endpoint: %w", err)
	}
	// A socket left by a killed driver would make Listen fail; one that answers belongs to a living driver.
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return fmt.Errorf("csidriver: endpoint %s is served by another process", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("csidriver: endpoint: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("csidriver: endpoint: %w", err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	csi.RegisterIdentityServer(s, d)
	csi.RegisterControllerServer(s, d)
	csi.RegisterNodeServer(s, d)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	d.opt.Log.Info("serving", "driver", d.opt.Name, "endpoint", path)
	if err := s.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("csidriver: serve: %w", err)
	}
	return nil
}
