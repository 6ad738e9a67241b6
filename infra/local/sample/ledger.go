package sample

import (
	"context"
	_ "embed" // the ledger's manifests
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

// Names of the ledger: a MariaDB server beside the shop, deployed only on demand.
const (
	LedgerNamespace   = "ledger"
	LedgerStatefulSet = "mariadb"
	// LedgerReplicas is the number of servers.
	LedgerReplicas = 1
	LedgerDatabase = "ledger"
	// LedgerRootSecret and LedgerReaderSecret hold a username and a password: of root, and of the role that may only read.
	LedgerRootSecret   = "mariadb-root"
	LedgerReaderSecret = "ledger-reader"
	// LedgerName is the value of AppLabel on everything of the ledger, and the name of its Velero Schedule.
	LedgerName = "ledger"
	// LedgerPort of each server in its pod.
	LedgerPort = 3306
	// LedgerEntries are the rows each server is seeded with.
	LedgerEntries = 1000
	// LedgerPlanFile is the ledger's plan, whose inventory is its Velero backups.
	LedgerPlanFile = "ledger.yaml"
)

//go:embed manifests/ledger.yaml
var ledgerYAML []byte

//go:embed manifests/ledger-schedule.yaml
var ledgerScheduleYAML []byte

//go:embed manifests/ledger-plan.yaml
var ledgerPlanYAML string

//go:embed manifests/ledger-seed.sql
var ledgerSeedSQL string

// LedgerPod is the name of a server's pod, by ordinal.
func LedgerPod(i int) string { return fmt.Sprintf("%s-%d", LedgerStatefulSet, i) }

// LedgerClaim is the name of a server's claim, by ordinal.
func LedgerClaim(i int) string { return fmt.Sprintf("data-%s-%d", LedgerStatefulSet, i) }

// LedgerDeployed tells where things of the ledger are.
type LedgerDeployed struct {
	// Plan is the plan's file.
	Plan string `json:"plan"`
	// Checksum is what the plan expects of the server's entries.
	Checksum string `json:"checksum"`
}

// DeployLedger puts the ledger on the cluster, seeds its server and writes its plan to the directory. It needs StackDir: the plan's
// inventory are the backups of the stack. What is there already is left as it is, so a second call completes a first one that failed.
// MariaDB's programs are brought first when the machine has none, which may take minutes once.
func DeployLedger(ctx context.Context, o Options) (*LedgerDeployed, error) {
	if o.StackDir == "" {
		return nil, errors.New("the ledger's backups are on a local stack, and the stack's directory is empty")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ledgerTimeout, fmt.Errorf("the ledger was not deployed within %s", ledgerTimeout))
	defer cancel()
	_, sum, err := theLedger().deploy(ctx, o)
	if err != nil {
		return nil, err
	}
	d := &LedgerDeployed{Plan: filepath.Join(o.Dir, LedgerPlanFile), Checksum: sum}
	return d, writeLedgerPlan(o, d)
}

// ledgerTimeout bounds a deployment; with the programs there it takes about five seconds.
const ledgerTimeout = 12 * time.Minute

func theLedger() workload {
	return workload{name: LedgerName, namespace: LedgerNamespace, statefulSet: LedgerStatefulSet, replicas: LedgerReplicas, manifests: ledgerYAML,
		schedule: ledgerScheduleYAML, seed: seedLedger, beat: BeatLedger}
}

func writeLedgerPlan(o Options, d *LedgerDeployed) error {
	inventory, err := veleroInventory(o)
	if err != nil {
		return err
	}
	return writePlan(d.Plan, o, ledgerPlanYAML, inventory, "{{entries}}", strconv.Itoa(LedgerEntries), "{{checksum}}", d.Checksum)
}

// AwaitLedger waits until every replica of the ledger's StatefulSet in a namespace is ready.
func AwaitLedger(ctx context.Context, c *cluster.Client, namespace string) error {
	return theLedger().awaitReady(ctx, c, namespace)
}

// LedgerPods are the ledger's pods in a namespace, by name.
func LedgerPods(ctx context.Context, c *cluster.Client, namespace string) ([]corev1.Pod, error) {
	return theLedger().pods(ctx, c, namespace)
}

// BackupLedger takes a Velero backup of the ledger with a snapshot of its volume, as its Schedule would, and returns it when it has
// completed.
func BackupLedger(ctx context.Context, c *cluster.Client, name string) (*velero.Backup, error) {
	return theLedger().backup(ctx, c, name)
}

// ResetLedger removes the ledger with its volumes, snapshots and Velero backups, and deploys it anew.
func ResetLedger(ctx context.Context, o Options) (*LedgerDeployed, error) {
	c, err := cluster.FromKubeconfig(o.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	o.say("remove the ledger with its volumes, snapshots and backups")
	if err := RemoveLedger(ctx, c, o); err != nil {
		return nil, err
	}
	return DeployLedger(ctx, o)
}

// RemoveLedger deletes the ledger's backups, its Schedule and its namespace with the volumes and snapshots.
func RemoveLedger(ctx context.Context, c *cluster.Client, o Options) error {
	if err := gone(ctx, c, velero.Schedules, stack.VeleroNamespace, LedgerName); err != nil {
		return err
	}
	if err := removeBackups(ctx, c, o, LedgerNamespace); err != nil {
		return err
	}
	return theLedger().remove(ctx, c)
}
