package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"fallbackchain.io/fallback/infra/local/toolchain"
)

// install puts the programs, as links into the cache, and the resource definitions into the state directory. Without the source
// tree what an earlier start put there is used.
func (s *Stack) install(ctx context.Context) error {
	l := s.layout
	tools, err := toolchain.Ensure(ctx, s.opt.Tools, toolchain.Stack()...)
	if err == nil {
		var own *toolchain.Tools
		if own, err = toolchain.Mains(ctx, s.opt.Tools); err == nil {
			return link(l, tools, own)
		}
	}
	if !errors.Is(err, toolchain.ErrNoSource) {
		return err
	}
	for _, name := range []string{Etcd, APIServer, ControllerManager, Scheduler, Kwok, SnapshotController, CSIDriver, NodeAgent, S3, Velero, veleroPlugin} {
		if _, missing := os.Stat(l.bin(name)); missing != nil {
			return err
		}
	}
	s.opt.Progress(Event{Step: "programs", Detail: "no source tree here: those of the last start are used", Done: true})
	return nil
}

func link(l Layout, tools, own *toolchain.Tools) error {
	for _, dir := range []string{l.in("bin"), l.crds()} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, t := range []*toolchain.Tools{tools, own} {
		programs, err := t.Binaries()
		if err != nil {
			return err
		}
		for _, p := range programs {
			if err := os.Symlink(p, l.bin(filepath.Base(p))); err != nil {
				return err
			}
		}
	}
	crds, err := tools.Assets("crds")
	if err != nil {
		return err
	}
	for _, f := range crds {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.crds(), filepath.Base(f)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
