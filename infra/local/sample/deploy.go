package sample

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
)

// deployTimeout bounds a whole deployment; on two cores it takes about ten seconds.
const deployTimeout = 3 * time.Minute

// Deployed tells where things are.
type Deployed struct {
	// Plan is the plan's file.
	Plan string `json:"plan"`
	// VeleroPlan is the file of the plan whose inventory is the Velero backups; empty without a stack.
	VeleroPlan string `json:"veleroPlan,omitempty"`
	// Inventory is the manifest bundle's directory.
	Inventory string `json:"inventory"`
	Namespace string `json:"namespace"`
	// Checksum is what the plan expects of every server's orders.
	Checksum string `json:"checksum"`
}

func shop() workload {
	return workload{name: AppName, namespace: Namespace, statefulSet: StatefulSet, replicas: Replicas, manifests: shopYAML, schedule: scheduleYAML,
		seed: seedAll, beat: Beat}
}

// Deploy puts the shop on the cluster, seeds its servers, takes their snapshots and writes plan and inventory to the
// directory. What is there already is left as it is, so a second call completes a first one that failed.
func Deploy(ctx context.Context, o Options) (*Deployed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("the sample was not deployed within %s", deployTimeout))
	defer cancel()
	c, sum, err := shop().deploy(ctx, o)
	if err != nil {
		return nil, err
	}
	o.say("take a snapshot of each volume")
	if err := snapshotAll(ctx, c); err != nil {
		return nil, err
	}
	d := &Deployed{Plan: filepath.Join(o.Dir, PlanFile), Inventory: filepath.Join(o.Dir, InventoryDir), Namespace: Namespace, Checksum: sum}
	o.say("capture the inventory and write the plan")
	if _, err := inventory.Capture(ctx, inventory.NewReader(c), inventory.Options{
		Namespace: Namespace, StatefulSet: StatefulSet,
		Controller: types.NamespacedName{Namespace: stack.CSIControllerNamespace, Name: stack.CSIController},
	}, d.Inventory); err != nil {
		return nil, err
	}
	return d, writePlans(o, d)
}

// writePlans writes the plan of the manifest bundle and, where a stack is named, that of its Velero backups.
func writePlans(o Options, d *Deployed) error {
	write := func(path, name, inventory string) error {
		return writePlan(path, o, planYAML, inventory, "{{name}}", name, "{{orders}}", strconv.Itoa(Orders), "{{checksum}}", d.Checksum)
	}
	if err := errors.Join(write(d.Plan, "shop", bundleYAML), replaceFile(filepath.Join(o.Dir, ReadmeFile), readme)); err != nil {
		return err
	}
	if o.StackDir == "" {
		return nil
	}
	inventory, err := veleroInventory(o)
	if err != nil {
		return err
	}
	d.VeleroPlan = filepath.Join(o.Dir, VeleroPlanFile)
	return write(d.VeleroPlan, "shop-velero", inventory)
}

// AwaitReady waits until every replica of the shop's StatefulSet in a namespace is ready.
func AwaitReady(ctx context.Context, c *cluster.Client, namespace string) error {
	return shop().awaitReady(ctx, c, namespace)
}

// Pods are the shop's pods in a namespace, by name.
func Pods(ctx context.Context, c *cluster.Client, namespace string) ([]corev1.Pod, error) {
	return shop().pods(ctx, c, namespace)
}
