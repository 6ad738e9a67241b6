package runner

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// loadPlan reads the plan from its file, refuses changed bytes, fills defaults and makes its paths absolute.
func loadPlan(_ context.Context, ref run.PlanRef) (*plan.Plan, error) {
	op := "load plan " + ref.URI
	data, err := plan.Read(ref.URI)
	if err != nil {
		return nil, fault.New(fault.PlanInvalid, op, err)
	}
	if have := plan.Digest(data); ref.Digest != "" && have != ref.Digest {
		return nil, fault.Newf(fault.PlanInvalid, op, "the plan was changed since the run began: digest %s, expected %s", have, ref.Digest)
	}
	p, problems := plan.Parse(ref.URI, data)
	if len(problems) > 0 {
		return nil, fault.New(fault.PlanInvalid, op, problems)
	}
	p = p.WithDefaults()
	p.Absolute(filepath.Dir(ref.URI))
	return p, nil
}

// openInventory opens the plan's manifest bundle, whose path loadPlan has made absolute.
func openInventory(_ context.Context, _ run.PlanRef, p *plan.Plan) (*inventory.Bundle, error) {
	if p.Spec.Inventory.Manifests == nil {
		return nil, fault.Newf(fault.InventoryBroken, "open the inventory", "the plan has no spec.inventory.manifests")
	}
	return inventory.OpenDir(p.Spec.Inventory.Manifests.Path)
}

// connector keeps one client for each kubeconfig and context.
type connector struct {
	mu      sync.Mutex
	clients map[string]*cluster.Client
}

// connect reaches a plan's cluster.
type connect = func(ctx context.Context, p *plan.Plan) (*cluster.Client, error)

// own is how a function reaches the cluster: as the plan's user, or as itself.
func (r *Runner) own(function string) connect {
	if !r.AsFunctions {
		return r.conn.as("")
	}
	return r.conn.as(kubernetes.Group(function))
}

// identified makes the client of every function, so that a context that is not in the kubeconfig is a message and not a run.
func (r *Runner) identified(ctx context.Context, p *plan.Plan) error {
	for _, f := range kubernetes.Functions() {
		if _, err := r.own(f)(ctx, p); err != nil {
			return fmt.Errorf("connect as function %s: %w", f, err)
		}
	}
	return nil
}

// janitors is own for the steps of a run that the janitor finishes: in AWS it walks them in its own process, as itself.
func (r *Runner) janitors(string) connect { return r.own("janitor") }

// as reaches a plan's cluster by a context of its kubeconfig; empty: the one that the plan names.
func (c *connector) as(kubeContext string) connect {
	return func(_ context.Context, p *plan.Plan) (*cluster.Client, error) { return c.client(p, kubeContext) }
}

func (c *connector) client(p *plan.Plan, kubeContext string) (*cluster.Client, error) {
	if p.Spec.Cluster.Kubeconfig == nil {
		return nil, fault.Newf(fault.PlanInvalid, "reach the cluster",
			"spec.cluster.kubeconfig is not set: a run in this process reaches its cluster through a kubeconfig; for spec.cluster.eks use --aws")
	}
	k := *p.Spec.Cluster.Kubeconfig
	if kubeContext != "" {
		k.Context = kubeContext
	}
	key := k.Path + "\x00" + k.Context
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.clients[key]; ok {
		return have, nil
	}
	made, err := cluster.FromKubeconfig(k.Path, k.Context)
	if err != nil {
		return nil, fault.New(fault.PlanInvalid, "reach the cluster", err)
	}
	if c.clients == nil {
		c.clients = map[string]*cluster.Client{}
	}
	c.clients[key] = made
	return made, nil
}

// busy is how long all clients together waited for their clusters so far.
func (c *connector) busy() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var t time.Duration
	for _, cl := range c.clients {
		t += cl.Busy.Total()
	}
	return t
}

// reachable asks the cluster for its version before a run begins, so that a wrong kubeconfig is a message and not a run.
// A server that refuses the credentials or a file that cannot be read is final; one that does not answer is not: waiting
// for it is what apiServerWait is for, unless it does not even accept connections within the given time.
func reachable(ctx context.Context, c *cluster.Client, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, err := c.Version(ctx); err != nil {
		return refused(c, "ask for its version", err)
	}
	return nil
}
