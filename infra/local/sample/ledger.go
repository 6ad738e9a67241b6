package sample

import (
	"context"
	"crypto/sha256"
	_ "embed" // the ledger's manifests
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

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
	c, err := cluster.FromKubeconfig(o.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("sample directory: %w", err)
	}
	o.say("apply the manifests of the ledger")
	if err := errors.Join(applyAll(ctx, c, ledgerYAML), applyAll(ctx, c, ledgerScheduleYAML)); err != nil {
		return nil, err
	}
	o.say("wait until its server is ready")
	if err := AwaitLedger(ctx, c, LedgerNamespace); err != nil {
		return nil, err
	}
	o.say("seed the server")
	sum, err := seedLedger(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := BeatLedger(ctx, c, LedgerNamespace, time.Now()); err != nil {
		return nil, err
	}
	d := &LedgerDeployed{Plan: filepath.Join(o.Dir, LedgerPlanFile), Checksum: sum}
	return d, writeLedgerPlan(o, d)
}

// ledgerTimeout bounds a deployment; with the programs there it takes about five seconds.
const ledgerTimeout = 12 * time.Minute

func writeLedgerPlan(o Options, d *LedgerDeployed) error {
	kubeconfig, err := filepath.Abs(o.Kubeconfig)
	if err != nil {
		return err
	}
	inventory, err := veleroInventory(o)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(Canary))
	text := strings.Replace(ledgerPlanYAML, "{{inventory}}", inventory, 1)
	return replaceFile(d.Plan, []byte(strings.NewReplacer("{{entries}}", strconv.Itoa(LedgerEntries), "{{checksum}}", d.Checksum,
		"{{canary}}", hex.EncodeToString(digest[:]), "{{kubeconfig}}", kubeconfig).Replace(text)))
}

// AwaitLedger waits until every replica of the ledger's StatefulSet in a namespace is ready.
func AwaitLedger(ctx context.Context, c *cluster.Client, namespace string) error {
	lacks := "it does not exist"
	ok, err := c.WaitFor(ctx, again, []cluster.Source{
		{GVR: cluster.StatefulSets, Namespace: namespace}, {GVR: cluster.Pods, Namespace: namespace},
	}, func(ctx context.Context) (bool, error) {
		s, err := cluster.Get[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, namespace, LedgerStatefulSet)
		if err != nil {
			return false, err
		}
		lacks = fmt.Sprintf("%d of %d replicas are ready", s.Status.ReadyReplicas, LedgerReplicas)
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == LedgerReplicas && s.Status.Replicas == LedgerReplicas, nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", lacks, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("StatefulSet %s/%s: %w", namespace, LedgerStatefulSet, err)
	}
	return nil
}

// LedgerPods are the ledger's pods in a namespace, by name.
func LedgerPods(ctx context.Context, c *cluster.Client, namespace string) ([]corev1.Pod, error) {
	return cluster.List[corev1.Pod](ctx, c, cluster.Pods, namespace, metav1.ListOptions{LabelSelector: AppLabel + "=" + LedgerName})
}

// BackupLedger takes a Velero backup of the ledger with a snapshot of its volume, as its Schedule would, and returns it when it has
// completed.
func BackupLedger(ctx context.Context, c *cluster.Client, name string) (*velero.Backup, error) {
	s := &unstructured.Unstructured{}
	if err := utilyaml.Unmarshal(ledgerScheduleYAML, &s.Object); err != nil {
		return nil, err
	}
	return backup(ctx, c, s, name, nil)
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
	return remove(ctx, c, workload{LedgerNamespace, LedgerStatefulSet, LedgerName})
}
