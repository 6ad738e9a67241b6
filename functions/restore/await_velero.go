package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

// Reasons of a restore that Velero did not do, beside Velero's own phases.
const (
	reasonRestoreGone = "RestoreGone"
	reasonDataLost    = "DataNotMoved"
	reasonHooks       = "HooksFailed"
)

func ofRestore(name string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: velero.LabelRestore + "=" + name}
}

// veleroSources are watched for Velero's part. A cluster whose Velero has no data movement has no DataDownloads.
func (w *awaited) veleroSources(ctx context.Context) ([]cluster.Source, error) {
	ns, name := w.s.Plan.Spec.Inventory.Velero.Namespace, velero.RestoreName(w.s.Run.ID)
	out := []cluster.Source{{GVR: velero.Restores, Namespace: ns, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + name}}}
	for _, gvr := range []schema.GroupVersionResource{velero.DataDownloads, velero.PodVolumeRestores} {
		o := ofRestore(name)
		o.Limit = 1
		_, err := w.s.Cluster.Dynamic.Resource(gvr).Namespace(ns).List(ctx, o)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, cluster.Fault("list "+gvr.Resource+" of namespace "+ns, err)
		default:
			out = append(out, cluster.Source{GVR: gvr, Namespace: ns, Options: ofRestore(name)})
		}
	}
	return out, nil
}

// velero lists what is waited for of Velero's part: the Restore, the data that is moved, the hooks.
func (w *awaited) velero(ctx context.Context) (waits []string, err error) {
	ns, name := w.s.Plan.Spec.Inventory.Velero.Namespace, velero.RestoreName(w.s.Run.ID)
	r, err := cluster.Get[velero.Restore](ctx, w.s.Cluster, velero.Restores, ns, name)
	if apierrors.IsNotFound(err) {
		w.failed = &failure{reasonRestoreGone, fmt.Sprintf("Restore %s/%s was deleted by somebody", ns, name)}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w.read(r)
	phase := r.Status.Phase
	if phase.Lost() {
		w.failed = &failure{string(phase), refusal(r)}
		return nil, nil
	}
	moving, lost, err := w.moves(ctx, ns, name)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		w.failed = &failure{reasonDataLost, "the data was not brought back: " + few(lost)}
		return nil, nil
	}
	if phase.ObjectsDone() && !w.harmless {
		if err := w.readBack(ctx); err != nil {
			return nil, err
		}
		w.harmless = true
		w.reached(&w.out.ObjectsAt, true)
	}
	if phase != velero.Completed {
		what := orNot(string(phase))
		if phase == "" || phase == velero.New {
			what = "not taken up by Velero yet"
		}
		waits = append(waits, fmt.Sprintf("Restore %s is %s%s", name, what, count(r)))
	} else if h := r.Status.HookStatus; h != nil && h.Failed > 0 {
		w.failed = &failure{reasonHooks, fmt.Sprintf("%d of %d hooks of Restore %s failed", h.Failed, h.Attempted, name)}
		return nil, nil
	}
	return append(waits, moving...), nil
}

// read copies what Velero says into the section.
func (w *awaited) read(r *velero.Restore) {
	if w.out.Velero == nil {
		w.out.Velero = &run.VeleroRestore{Name: r.Name, Backup: r.Spec.BackupName}
	}
	v, st := *w.out.Velero, r.Status
	v.Phase, v.Warnings, v.Errors = string(st.Phase), st.Warnings, st.Errors
	if st.StartTimestamp != nil {
		v.StartedAt = &st.StartTimestamp.Time
	}
	if st.CompletionTimestamp != nil {
		v.CompletedAt = &st.CompletionTimestamp.Time
	}
	if st.Progress != nil {
		v.TotalItems, v.ItemsRestored = st.Progress.TotalItems, st.Progress.ItemsRestored
	}
	if st.HookStatus != nil {
		v.HooksFailed = st.HookStatus.Failed
	}
	w.out.Velero = &v
}

func count(r *velero.Restore) string {
	text := ""
	if p := r.Status.Progress; p != nil && p.TotalItems > 0 {
		text = fmt.Sprintf(", %d of %d items", p.ItemsRestored, p.TotalItems)
	}
	if n := r.Status.OperationsAttempted; n > 0 {
		text += fmt.Sprintf(", %d of %d operations", r.Status.OperationsCompleted, n)
	}
	return text
}

// refusal is what the Restore itself says about its end.
func refusal(r *velero.Restore) string {
	text := fmt.Sprintf("Velero's Restore %s is %s with %d errors", r.Name, r.Status.Phase, r.Status.Errors)
	if r.Status.FailureReason != "" {
		text += ": " + run.Short(r.Status.FailureReason, 300)
	}
	if len(r.Status.ValidationErrors) > 0 {
		text += ": " + few(r.Status.ValidationErrors)
	}
	return text
}

// moves lists the data that is still moved from the bucket, and what will not come any more.
func (w *awaited) moves(ctx context.Context, ns, name string) (moving, lost []string, err error) {
	one := func(what string, st velero.MoveStatus) {
		switch {
		case st.Phase.Lost():
			lost = append(lost, fmt.Sprintf("%s is %s: %s", what, st.Phase, orNone(st.Message)))
		case st.Phase != velero.MoveCompleted:
			phase := string(st.Phase)
			if phase == "" {
				phase = "new"
			}
			moving = append(moving, fmt.Sprintf("%s is %s, %d of %d bytes", what, phase, st.Progress.BytesDone, st.Progress.TotalBytes))
		}
	}
	downloads, err := cluster.List[velero.DataDownload](ctx, w.s.Cluster, velero.DataDownloads, ns, ofRestore(name))
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, err
	}
	for _, d := range downloads {
		one("data of claim "+d.Spec.TargetVolume.PVC+" (DataDownload "+d.Name+")", d.Status)
	}
	v := *w.out.Velero
	v.DataDownloads, v.DataDownloadsDone = len(downloads), len(downloads)-len(moving)-len(lost)
	w.out.Velero = &v
	pods, err := cluster.List[velero.PodVolumeRestore](ctx, w.s.Cluster, velero.PodVolumeRestores, ns, ofRestore(name))
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, err
	}
	for _, p := range pods {
		one("volume "+p.Spec.Volume+" of pod "+p.Spec.Pod.Name+" (PodVolumeRestore "+p.Name+")", p.Status)
	}
	return moving, lost, nil
}

func orNone(s string) string {
	if s == "" {
		return "it gives no reason"
	}
	return s
}

// readBack looks at what Velero made: a Velero that did not apply the resource modifiers would have restored production's objects as
// they were.
func (w *awaited) readBack(ctx context.Context) error {
	ns := w.out.Namespace
	for _, gvr := range []schema.GroupVersionResource{cluster.Services, {Version: "v1", Resource: "serviceaccounts"}, cluster.StatefulSets, cluster.Deployments,
		{Group: "batch", Version: "v1", Resource: "cronjobs"}} {
		o := ofRestore(velero.RestoreName(w.s.Run.ID))
		o.Limit = 500
		for {
			l, err := w.s.Cluster.Dynamic.Resource(gvr).Namespace(ns).List(ctx, o)
			if err != nil {
				return cluster.Fault("read back the "+gvr.Resource+" of "+ns, err)
			}
			for i := range l.Items {
				if why := harmful(&l.Items[i], ns); why != "" {
					return fault.Newf(fault.IsolationBroken, "restore into "+ns, "%s was restored by Velero with effect: %s", title(&l.Items[i]), run.Short(why, 300))
				}
			}
			if o.Continue = l.GetContinue(); o.Continue == "" {
				break
			}
		}
	}
	return nil
}

// results adds warnings and errors by item, from the file that Velero leaves beside the backups, and that Velero removes when the teardown deletes
// the Restore: what the section has no room for is kept as evidence. What cannot be read or kept is said, and changes nothing about the verdict.
func (w *awaited) results(ctx context.Context) {
	if w.out.Velero == nil {
		return
	}
	v := *w.out.Velero
	r, err := w.readResults(ctx, v.Name)
	if errors.Is(err, fs.ErrNotExist) && v.StartedAt == nil {
		return // Velero has not begun: there are none
	}
	var lines []string
	for _, e := range r.Errors {
		lines = append(lines, "error: "+e)
	}
	for _, x := range r.Warnings {
		lines = append(lines, "warning: "+x)
	}
	if err != nil {
		lines = append(lines, "the results cannot be read: "+err.Error())
	}
	v.Items = run.Few(lines, resultItems, listRunes)
	if len(r.Errors)+len(r.Warnings) > 0 && !slices.Equal(v.Items, lines) {
		if v.Evidence, err = w.s.Keep(ctx, ResultsFile, r); err != nil {
			v.Evidence = nil // it was written perhaps, and not read back
			v.Items = append(v.Items, run.Short("the rest was not kept: "+err.Error(), listRunes))
		} else {
			v.ItemCount = len(r.Errors) + len(r.Warnings)
		}
	}
	w.out.Velero = &v
	if len(r.Errors) > 0 {
		w.out.Message += ": " + strings.Join(run.Few(r.Errors, 3, listRunes), "; ")
	}
}

func (w *awaited) readResults(ctx context.Context, name string) (velero.Results, error) {
	store, err := w.s.BackupStore(ctx)
	if err != nil {
		return velero.Results{}, err
	}
	objects, err := store.List(ctx, velero.ResultsPrefix(name))
	if err != nil {
		return velero.Results{}, err
	}
	for _, o := range objects {
		if o.Key != velero.ResultsKey(name) {
			continue
		}
		body, err := store.Open(ctx, o)
		if err != nil {
			return velero.Results{}, err
		}
		r, err := velero.ReadResults(body)
		return r, errors.Join(err, body.Close())
	}
	return velero.Results{}, fmt.Errorf("%s: %w", velero.ResultsKey(name), fs.ErrNotExist)
}
