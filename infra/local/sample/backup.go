package sample

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

// backupTimeout bounds a backup; on two cores it takes about five seconds.
const backupTimeout = 3 * time.Minute

// Backup takes a Velero backup of the shop with snapshots of its volumes, as its Schedule would, and returns it when it has
// completed.
func Backup(ctx context.Context, c *cluster.Client, name string) (*velero.Backup, error) {
	return shop().backup(ctx, c, name)
}

// BackupFromSchedule takes a backup by the template of the shop's Schedule, which it is labelled with, as `velero backup create
// --from-schedule` does, and returns it when it has completed.
func BackupFromSchedule(ctx context.Context, c *cluster.Client, name string) (*velero.Backup, error) {
	s, err := c.Dynamic.Resource(velero.Schedules).Namespace(stack.VeleroNamespace).Get(ctx, Schedule, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the Schedule %s/%s: %w", stack.VeleroNamespace, Schedule, err)
	}
	return take(ctx, c, s, name, map[string]string{velero.LabelSchedule: Schedule})
}

// backup takes a backup of the workload as its Schedule would, and returns it when it has completed.
func (w workload) backup(ctx context.Context, c *cluster.Client, name string) (*velero.Backup, error) {
	s, err := w.scheduleOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return take(ctx, c, s, name, nil)
}

// removeBackups has Velero delete every backup of a namespace alone with its snapshots. One that Velero could not delete stays, and is told of.
func removeBackups(ctx context.Context, c *cluster.Client, o Options, namespace string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, fmt.Errorf("the backups were not gone after %s", removeTimeout))
	defer cancel()
	all, err := cluster.List[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, metav1.ListOptions{})
	if err != nil {
		return err
	}
	asked := map[string]string{} // the request, by backup
	requests := c.Dynamic.Resource(deleteRequests).Namespace(stack.VeleroNamespace)
	for _, b := range all {
		if !slices.Equal(b.Spec.IncludedNamespaces, []string{namespace}) {
			continue
		}
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": velero.APIVersion, "kind": "DeleteBackupRequest",
			"metadata": map[string]any{"generateName": b.Name + "-"}, "spec": map[string]any{"backupName": b.Name}}}
		made, err := requests.Create(ctx, u, metav1.CreateOptions{FieldManager: manager})
		if err != nil {
			return fmt.Errorf("delete the backup %s: %w", b.Name, err)
		}
		asked[b.Name] = made.GetName()
	}
	ok, err := c.WaitFor(ctx, again, []cluster.Source{
		{GVR: velero.Backups, Namespace: stack.VeleroNamespace}, {GVR: deleteRequests, Namespace: stack.VeleroNamespace},
	}, func(ctx context.Context) (bool, error) {
		for name, request := range asked {
			_, err := cluster.Get[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, name)
			if apierrors.IsNotFound(err) {
				delete(asked, name)
				continue
			}
			u, failed := requests.Get(ctx, request, metav1.GetOptions{})
			if err = errors.Join(err, failed); apierrors.IsNotFound(failed) {
				return false, nil // it goes with the backup
			}
			if err != nil {
				return false, err
			}
			if why, _, _ := unstructured.NestedStringSlice(u.Object, "status", "errors"); len(why) > 0 {
				o.say("the backup " + name + " stays: " + strings.Join(why, "; "))
				delete(asked, name)
			}
		}
		return len(asked) == 0, nil
	})
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	return err
}

var deleteRequests = schema.GroupVersionResource{Group: velero.Group, Version: "v1", Resource: "deletebackuprequests"}

// take takes a backup by a Schedule's template. It has the template's labels, as Velero gives them
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/builder/backup_builder.go), and more.
func take(ctx context.Context, c *cluster.Client, schedule *unstructured.Unstructured, name string, more map[string]string) (*velero.Backup, error) {
	template, found, err := unstructured.NestedMap(schedule.Object, "spec", "template")
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the Schedule %s has no spec.template", schedule.GetName())
	}
	labels, _, err := unstructured.NestedStringMap(template, "metadata", "labels")
	if err != nil {
		return nil, err
	}
	if labels == nil {
		labels = schedule.GetLabels()
	}
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, more)
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": velero.APIVersion, "kind": "Backup", "spec": template}}
	u.SetNamespace(stack.VeleroNamespace)
	u.SetName(name)
	u.SetLabels(labels)
	ctx, cancel := context.WithTimeoutCause(ctx, backupTimeout, fmt.Errorf("it was not done within %s", backupTimeout))
	defer cancel()
	backups := c.Dynamic.Resource(velero.Backups).Namespace(stack.VeleroNamespace)
	if _, err := backups.Create(ctx, u, metav1.CreateOptions{FieldManager: manager}); err != nil {
		return nil, fmt.Errorf("make the backup %s: %w", name, err)
	}
	var b *velero.Backup
	ok, err := c.WaitFor(ctx, again, []cluster.Source{{GVR: velero.Backups, Namespace: stack.VeleroNamespace,
		Options: metav1.ListOptions{FieldSelector: "metadata.name=" + name}}}, func(ctx context.Context) (bool, error) {
		var err error
		b, err = cluster.Get[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, name)
		return err == nil && b.Status.Phase.Ended(), err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("backup %s: %w", name, err)
	case !ok:
		return b, fmt.Errorf("backup %s is %q: %w", name, b.Status.Phase, context.Cause(ctx))
	case b.Status.Phase != velero.Completed:
		return b, fmt.Errorf("backup %s is %s (%d errors, %d warnings) %s: the log of %s tells more", name, b.Status.Phase,
			b.Status.Errors, b.Status.Warnings, strings.Join(append(b.Status.ValidationErrors, b.Status.FailureReason), " "), stack.Velero)
	}
	return b, nil
}
