package sample

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
)

const (
	// deployTimeout bounds a whole deployment; on two cores it takes about ten seconds.
	deployTimeout = 3 * time.Minute
	// again is how often a wait looks even when nothing changed.
	again = 2 * time.Second
)

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

// Deploy puts the shop on the cluster, seeds its servers, takes their snapshots and writes plan and inventory to the
// directory. What is there already is left as it is, so a second call completes a first one that failed.
func Deploy(ctx context.Context, o Options) (*Deployed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("the sample was not deployed within %s", deployTimeout))
	defer cancel()
	c, err := cluster.FromKubeconfig(o.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("sample directory: %w", err)
	}
	o.say("apply the manifests of the shop")
	if err := errors.Join(applyAll(ctx, c, shopYAML), applyAll(ctx, c, scheduleYAML)); err != nil {
		return nil, err
	}
	o.say("wait until its three servers are ready")
	if err := AwaitReady(ctx, c, Namespace); err != nil {
		return nil, err
	}
	o.say("seed each server")
	sum, err := seedAll(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := Beat(ctx, c, Namespace, time.Now()); err != nil {
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
	kubeconfig, err := filepath.Abs(o.Kubeconfig)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(Canary))
	render := func(name, inventory string) []byte {
		text := strings.Replace(planYAML, "{{inventory}}", inventory, 1)
		return []byte(strings.NewReplacer("{{name}}", name, "{{orders}}", strconv.Itoa(Orders), "{{checksum}}", d.Checksum,
			"{{canary}}", hex.EncodeToString(digest[:]), "{{kubeconfig}}", kubeconfig).Replace(text))
	}
	if err := errors.Join(replaceFile(d.Plan, render("shop", bundleYAML)), replaceFile(filepath.Join(o.Dir, ReadmeFile), readme)); err != nil {
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
	return replaceFile(d.VeleroPlan, render("shop-velero", inventory))
}

// veleroInventory is a plan's inventory: the Velero backups of the stack.
func veleroInventory(o Options) (string, error) {
	b, err := o.layout().Backups()
	if err != nil {
		return "", err
	}
	for _, f := range []*string{&b.CredentialsFile, &b.SigningKey} {
		if *f, err = filepath.Abs(*f); err != nil {
			return "", err
		}
	}
	return strings.NewReplacer("{{location}}", b.Location(), "{{region}}", b.Region,
		"{{endpoint}}", b.Endpoint, "{{credentials}}", b.CredentialsFile, "{{key}}", b.SigningKey).Replace(veleroYAML), nil
}

// replaceFile writes a file as a whole: a reader sees the old content or the new.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// AwaitReady waits until every replica of the shop's StatefulSet in a namespace is ready.
func AwaitReady(ctx context.Context, c *cluster.Client, namespace string) error {
	lacks := "it does not exist"
	ok, err := c.WaitFor(ctx, again, []cluster.Source{
		{GVR: cluster.StatefulSets, Namespace: namespace}, {GVR: cluster.Pods, Namespace: namespace},
	}, func(ctx context.Context) (bool, error) {
		s, err := cluster.Get[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, namespace, StatefulSet)
		if err != nil {
			return false, err
		}
		lacks = fmt.Sprintf("%d of %d replicas are ready", s.Status.ReadyReplicas, Replicas)
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == Replicas && s.Status.Replicas == Replicas, nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", lacks, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("StatefulSet %s/%s: %w", namespace, StatefulSet, err)
	}
	return nil
}

// Pods are the shop's pods in a namespace, by name.
func Pods(ctx context.Context, c *cluster.Client, namespace string) ([]corev1.Pod, error) {
	return cluster.List[corev1.Pod](ctx, c, cluster.Pods, namespace, metav1.ListOptions{LabelSelector: AppLabel + "=" + AppName})
}
