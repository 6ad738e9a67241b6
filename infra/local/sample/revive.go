package sample

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

// revive starts what a fault stopped, and starts Velero again where it must be: one that runs, has had its servers all the time and has
// nothing to do is left alone.
func revive(ctx context.Context, c *cluster.Client, stackDir string) error {
	s, err := stack.Connect(stackDir)
	if err != nil {
		return err
	}
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	stale := deprived(st.Components)
	for _, name := range []string{stack.APIServer, stack.S3} {
		if err := s.StartComponent(ctx, name); err != nil {
			return err
		}
	}
	if !stale {
		if stale, err = occupied(ctx, c); err != nil {
			return err
		}
	}
	if stale {
		if err := s.StopComponent(ctx, stack.Velero); err != nil {
			return err
		}
	}
	return s.StartComponent(ctx, stack.Velero)
}

// deprived tells whether Velero does not run, or had to do without one of its servers since it was started. After its API server was
// away it sees new objects again only after more than a minute.
func deprived(all []process.Status) bool {
	of := func(name string) process.Status {
		if i := slices.IndexFunc(all, func(s process.Status) bool { return s.Name == name }); i >= 0 {
			return all[i]
		}
		return process.Status{}
	}
	v := of(stack.Velero)
	if v.State != process.Running {
		return true
	}
	for _, name := range []string{stack.Etcd, stack.APIServer, stack.S3} {
		if s := of(name); s.State != process.Running || !s.Since.Before(v.Since) {
			return true
		}
	}
	return false
}

// occupied tells whether Velero is in the middle of something: a backup that is being taken cannot be deleted. A Velero that is started
// again gives up what it was doing.
func occupied(ctx context.Context, c *cluster.Client) (bool, error) {
	backups, err := cluster.List[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("what Velero is doing: %w", err)
	}
	restores, err := cluster.List[velero.Restore](ctx, c, velero.Restores, stack.VeleroNamespace, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("what Velero is doing: %w", err)
	}
	return slices.ContainsFunc(backups, func(b velero.Backup) bool { return !b.Status.Phase.Ended() }) ||
		slices.ContainsFunc(restores, func(r velero.Restore) bool { return !r.Status.Phase.Ended() }), nil
}
