// Package stacktest gives tests a local stack of their own.
package stacktest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// Dir makes a state directory that databases, which do not run as root, can reach (that of testing.T is closed to others), and
// deletes it after the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fallback-stack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("state directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Up starts a stack and stops it after the test. An empty Dir gets one of its own. The programs must have been built ("fallback local
// build"), or the test waits for that too.
func Up(t testing.TB, opt stack.Options) *stack.Stack {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = Dir(t)
	}
	opt.Progress = func(e stack.Event) {
		if e.Done {
			t.Logf("%s %s (%s)", e.Step, e.Detail, e.Elapsed.Round(time.Millisecond))
		}
	}
	opt.OnExit = func(e process.Event) { t.Log(e) }
	s, err := stack.Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, opt.Dir)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	return s
}

// explain logs what a person would look at after a failure: what the cluster warned of, which volumes are attached where, and the ends of
// the logs of who moves volumes and pods.
func explain(t testing.TB, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if c, err := cluster.FromKubeconfig(stack.Layout{Dir: dir}.Kubeconfig(), ""); err != nil {
		t.Log(err)
	} else {
		events, err := cluster.List[corev1.Event](ctx, c, cluster.Events, "", metav1.ListOptions{FieldSelector: "type=Warning"})
		if err != nil {
			t.Log(err)
		}
		for _, e := range events {
			t.Logf("%s %s %s/%s: %s: %s (%d times)", e.LastTimestamp.UTC().Format(time.TimeOnly), e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message, e.Count)
		}
		attachments, err := cluster.List[storagev1.VolumeAttachment](ctx, c, cluster.VolumeAttachments, "", metav1.ListOptions{})
		if err != nil {
			t.Log(err)
		}
		for _, a := range attachments {
			volume := "inline"
			if name := a.Spec.Source.PersistentVolumeName; name != nil {
				volume = *name
			}
			t.Logf("volume %s: node %s, attached %t, deleted %v, %+v", volume, a.Spec.NodeName, a.Status.Attached, a.DeletionTimestamp, a.Status.AttachError)
		}
	}
	const last = 3000
	for _, name := range []string{"local-node-agent", "local-csi-driver", "kube-controller-manager"} {
		data, err := os.ReadFile(filepath.Join(dir, "log", name+".log"))
		if err != nil {
			t.Log(err)
			continue
		}
		t.Logf("the end of %s.log:\n%s", name, data[max(0, len(data)-last):])
	}
}
