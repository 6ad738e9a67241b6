// Package teardown removes everything that a drill made, and nothing else (graph states TeardownAfterFailure and
// TeardownAfterPass, each with its Await).
package teardown

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/undo"
	"fallbackchain.io/fallback/shared/velero"
)

// Handler serves the operations start and await.
type Handler struct{ Env *step.Env }

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Undo, error) {
	if r.Mode != run.Drill {
		return run.Undo{}, fault.Newf(fault.InputInvalid, "teardown", "mode is %q: only a drill is torn down", r.Mode)
	}
	return step.Ops[run.Undo]{"start": start, "await": await}.Serve(ctx, h.Env, "teardown", op, state, r)
}

// Bounds of the section's lists.
const (
	listItems = 20
	listRunes = 160
)

// start issues the deletions that need not wait for others: workloads first, for a namespace with running pods takes long.
func start(ctx context.Context, s *step.Session) (run.Undo, error) {
	out := run.Undo{Waiting: run.Waiting{Deadline: s.Deadline(s.Plan.Spec.Drill.TeardownBudget)}}
	entries, err := s.Journal.Entries(ctx)
	if err != nil {
		return out, fault.New(fault.JournalUnwritable, "read the journal of run "+s.Run.ID, err)
	}
	ch := changer(s, entries)
	if foreign := outside(entries, ch.Scope); len(foreign) > 0 {
		return out, fault.Newf(fault.ProductionTouched, "tear down "+s.Target(), "the journal holds changes outside the drill: %s", strings.Join(run.Few(foreign, 3, listRunes), "; "))
	}
	left, err := remains(ctx, s, ch)
	if err != nil {
		return out, err
	}
	pending := 0
	for _, e := range entries {
		if e.Pending() {
			pending++
		}
	}
	if pending == 0 && len(left) == 0 {
		out.Phase, out.Message = run.NothingToUndo, "the journal holds nothing to undo, and nothing carries this run's label"
		return out, nil
	}
	var waits []string
	if r := restoredOf(s, ch, out.Deadline); r != nil {
		if waits, err = r.remove(ctx, ctx, false); err != nil {
			return out, err
		}
	}
	// While Velero makes things, nothing of its surroundings is taken away.
	var res undo.Result
	if len(waits) == 0 {
		res, err = undo.Entries(ctx, undo.Deps{Cluster: s.Cluster, Changer: ch, NoWait: true}, nil)
	} else {
		res, err = undo.Read(ctx, s.Journal, nil)
	}
	if err != nil {
		return out, err
	}
	fill(&out, res)
	out.Phase, out.Message = run.Started, fmt.Sprintf("%d changes to undo, %d objects of the drill left", pending, len(left))
	return out, nil
}

// await goes on until all is undone and was read back as gone.
func await(ctx context.Context, s *step.Session) (run.Undo, error) {
	if s.Run.Teardown == nil {
		return run.Undo{}, fault.Newf(fault.Internal, "await the teardown", "it was not started")
	}
	out := *s.Run.Teardown
	if out.Phase == run.NothingToUndo {
		return out, nil
	}
	out.Rounds++
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := s.Now()
	left, res, err := work(ctx, slice, s, out.Deadline)
	out.WaitedMS += s.Now().Sub(began).Milliseconds()
	if err != nil {
		if f := fault.From(err); f.Class() != fault.Retry || s.Over(out.Deadline) {
			return out, err
		}
		// An API server that is away comes back; until the deadline that is waiting.
		out.Phase, out.Message = run.Running, err.Error()
		return out, nil
	}
	fill(&out, res)
	switch {
	case len(left) == 0 && res.Complete():
		out.Phase, out.Reason = run.Undone, ""
		out.Message = fmt.Sprintf("%d changes undone; the namespace, its volumes and the imported snapshots are gone", len(res.PutBack))
		if note := production(ctx, s); note != "" {
			out.Message += "; " + note
		}
	case len(left) == 0 && len(res.Waiting) == 0:
		out.Phase, out.Reason = run.Incomplete, string(fault.UndoIncomplete)
		out.Message = "could not be undone: " + strings.Join(run.Few(res.Left, 3, listRunes), "; ")
	case s.Over(out.Deadline):
		out.Phase, out.Reason = run.Incomplete, string(fault.BudgetExceeded)
		still := append(append([]string{}, left...), res.Waiting...)
		out.Left = run.Few(append(still, res.Left...), listItems, listRunes)
		out.Message = fmt.Sprintf("not gone within %s: %s", s.Plan.Spec.Drill.TeardownBudget, strings.Join(run.Few(still, 3, listRunes), "; "))
	default:
		out.Phase, out.Message = run.Running, strings.Join(run.Few(append(left, res.Waiting...), 3, listRunes), "; ")
	}
	return out, nil
}

// work does one round: what Velero made, what the journal holds, what carries the run's label and name all the same; left is what is
// still there.
func work(ctx, slice context.Context, s *step.Session, deadline *time.Time) (left []string, res undo.Result, err error) {
	entries, err := s.Journal.Entries(ctx)
	if err != nil {
		return nil, res, fault.New(fault.JournalUnwritable, "read the journal of run "+s.Run.ID, err)
	}
	ch := changer(s, entries)
	if r := restoredOf(s, ch, deadline); r != nil {
		if left, err = r.remove(ctx, slice, true); err != nil || len(left) > 0 {
			res, rerr := undo.Read(ctx, s.Journal, nil)
			return left, res, errors.Join(err, rerr)
		}
	}
	res, err = undo.Entries(slice, undo.Deps{Cluster: s.Cluster, Changer: ch}, nil)
	if err == nil && len(res.Waiting) == 0 {
		err = sweep(ctx, s, ch)
	}
	if err == nil {
		left, err = settled(slice, s, ch)
	}
	return left, res, err
}

// changer is the teardown's. A namespace that this run made may have been made again by Velero without the run's label, when the run had
// Velero restore into it; only then is it taken for the run's own.
func changer(s *step.Session, entries []journal.Entry) *change.Changer {
	ch := s.OwnChanger()
	made := map[string]bool{}
	for _, e := range entries {
		if e.Verb != journal.Create && e.Verb != journal.Apply {
			continue
		}
		switch {
		case e.Object.Resource == cluster.Namespaces.Resource && e.Object.Name == s.Target() && e.Done != nil && e.Done.UID != "":
			made["namespace"] = true
		case e.Object.Resource == velero.Restores.Resource && e.Object.Namespace == ch.Scope.Velero && (e.Done == nil || e.Done.Error == ""):
			made["restore"] = true
			if e.Done != nil && e.Done.UID != "" {
				ch.Scope.RestoreUID = e.Done.UID
			}
		}
	}
	ch.Scope.Remade = made["namespace"] && made["restore"]
	return ch
}

func fill(out *run.Undo, res undo.Result) {
	out.PutBack = run.Few(res.PutBack, listItems, listRunes)
	out.Left = run.Few(res.Left, listItems, listRunes)
}

// outside lists changes of the journal that reach out of the drill's scope. The scope refuses them before they are made, so there are
// none but by a defect.
func outside(entries []journal.Entry, scope change.Scope) []string {
	var out []string
	for _, e := range entries {
		if e.Done != nil && e.Done.Error != "" {
			continue // refused
		}
		var before *unstructured.Unstructured
		if len(e.Before) > 0 {
			before = &unstructured.Unstructured{}
			if err := kjson.Unmarshal(e.Before, &before.Object); err != nil {
				before = nil
			}
		}
		gv, err := schema.ParseGroupVersion(e.Object.APIVersion)
		if err == nil && scope.Within(change.Ref{GVR: gv.WithResource(e.Object.Resource), Kind: e.Object.Kind, Namespace: e.Object.Namespace, Name: e.Object.Name}, before) {
			continue
		}
		out = append(out, fmt.Sprintf("%s %s", e.Verb, e.Object))
	}
	return out
}
