// Package scale shows on the real local stack that a namespace of 5,000 objects and 200 claims is backed up, drilled and recovered.
package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/cmd/fallback/backupcmd"
	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/awsedge/backupkey"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
	"fallbackchain.io/fallback/statemachine/walk"
)

const (
	namespace  = "big"
	claims     = 200
	objects    = 5000
	backupName = "big-1"
	// sectionLimit is what a step's result may have: a run of many steps has to fit into a state's 256 KiB.
	sectionLimit = 8 << 10
)

var bed *testbed.Bed

func TestMain(m *testing.M) {
	testbed.MainWith(m, "scale", func(ctx context.Context, b *testbed.Bed) error {
		path, err := writePlan(b.Dir, b.Stack)
		if err != nil {
			return err
		}
		b.Sample, b.RunLimit, bed = &sample.Deployed{Plan: path}, 20*time.Minute, b
		place := []byte(`{"metadata":{"annotations":{"` + kubernetes.Place(namespace) + `":"workload"}}}`)
		_, err = b.Client.Dynamic.Resource(cluster.Namespaces).Patch(ctx, kubernetes.Places, types.MergePatchType, place, metav1.PatchOptions{})
		return err
	})
}

// TestScale goes through the life of one backup in one test, because each part needs the one before it.
func TestScale(t *testing.T) {
	timed(t, "deploy", func() { deploy(t) })
	timed(t, "back up, verify and seal", func() { backUp(t) })
	if !t.Run("drill", drill) {
		return
	}
	timed(t, "delete the namespace", func() { deleteNamespace(t) })
	t.Run("recover", recoverAll)
}

func timed(t *testing.T, what string, do func()) {
	t.Helper()
	from := time.Now()
	do()
	t.Logf("%s: %s", what, time.Since(from).Round(100*time.Millisecond))
}

// backUp takes the backup as an operator would.
func backUp(t *testing.T) {
	c := backupcmd.New(backupcmd.Edges{Backups: runner.OpenBackups, Key: backupkey.Open, Connect: runner.Connect, Now: time.Now})
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage = true
	c.SetArgs([]string{"create", "-f", bed.Sample.Plan, "--name", backupName, "--wait", "20m"})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	b, err := cluster.Get[velero.Backup](t.Context(), bed.Client, velero.Backups, stack.VeleroNamespace, backupName)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Velero itself needed %s", b.Status.CompletionTimestamp.Sub(b.Status.StartTimestamp.Time))
}

// watched times the states of a run and checks the size of each section.
func watched(t *testing.T) testbed.Option {
	return func(r *runner.Runner, _ *runner.Request) {
		next := r.OnEvent
		r.OnEvent = func(e walk.Event) {
			next(e)
			if n := len(e.Section); n > sectionLimit {
				t.Errorf("the section of %s has %d bytes, expected at most %d", e.State, n, sectionLimit)
			}
			if e.Kind != walk.Entered && e.Duration > 300*time.Millisecond {
				t.Logf("  %-26s %8s  %s", e.State, e.Duration.Round(time.Millisecond), e.Reason)
			}
		}
	}
}

func drill(t *testing.T) {
	before := bed.Versions(t, namespace)
	if len(before) < objects+claims {
		t.Fatalf("only %d objects are compared", len(before))
	}
	var there map[string]int
	res := bed.Start(t, run.Drill, watched(t), func(r *runner.Runner, _ *runner.Request) {
		next := r.OnEvent
		r.OnEvent = func(e walk.Event) {
			next(e)
			if e.Kind == walk.Exited && e.State == "ReadOnlyTransaction" {
				there = count(t, "drill-"+runOf(t))
			}
		}
	})
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	complete(t, "the drill", there)
	if r := res.Run.Restore; r == nil || r.Velero == nil || r.Velero.Phase != string(velero.Completed) || r.Velero.Errors != 0 || r.Objects < objects {
		t.Errorf("restore %s", text(r))
	}
	if after := bed.Versions(t, namespace); !maps.Equal(before, after) {
		t.Error("production was touched")
	}
	if left := bed.Leftovers(t, res.Run.ID); len(left) > 0 {
		t.Errorf("left behind: %d, %v", len(left), left[:min(len(left), 5)])
	}
	for _, gvr := range []string{"restores", "contents"} {
		if left := leftOfVelero(t, gvr); len(left) > 0 {
			t.Errorf("left behind: %d %s, %v", len(left), gvr, left[:min(len(left), 5)])
		}
	}
	for ns := range namespaces(t) {
		if strings.HasPrefix(ns, "drill-") {
			t.Errorf("namespace %s is left", ns)
		}
	}
}

func recoverAll(t *testing.T) {
	res := bed.Start(t, run.Recover, watched(t))
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if g := res.Run.Gate; g == nil || !g.DataProved {
		t.Errorf("gate %s", text(g))
	}
	complete(t, "the recovered namespace", count(t, namespace))
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func deleteNamespace(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	all := bed.Client.Dynamic.Resource(cluster.Namespaces)
	if err := all.Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ok, err := bed.Client.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.Namespaces}}, func(ctx context.Context) (bool, error) {
		_, err := all.Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil || !ok {
		t.Fatalf("namespace %s is not gone: %v", namespace, err)
	}
}
