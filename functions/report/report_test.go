package report

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/telemetry"
)

func handler(t *testing.T) (*Handler, string) {
	t.Helper()
	dir := t.TempDir()
	journals := &journal.Files{Dir: dir}
	j, err := journals.Open(context.Background(), "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Intend(context.Background(), journal.Intent{Verb: journal.Delete, Object: journal.Object{Kind: "VolumeAttachment", Name: "csi-1"}, Undo: journal.UndoNothing}); err != nil {
		t.Fatal(err)
	}
	env := &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return nil, errors.New("the plan is away") },
		Journals: journals, Now: func() time.Time { return time.Unix(100, 0) },
	}
	return &Handler{Env: env, Store: report.Directory{Dir: dir}, Visits: func(context.Context, run.Run) ([]report.Visit, error) {
		return []report.Visit{{State: "Admit", Function: "admit", Op: "admit", Reason: "Admitted"}}, nil
	}}, dir
}

func TestTheReportIsWrittenWithoutPlanAndCluster(t *testing.T) {
	h, _ := handler(t)
	got, err := h.Handle(context.Background(), "report", "Report", run.Run{ID: "run-1", Outcome: &run.OutcomeSection{Name: run.Aborted}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(got.JSON)
	if err != nil || report.Digest(b) != got.Digest {
		t.Fatalf("digest %s, %v", got.Digest, err)
	}
	var rep report.Report
	if err := json.Unmarshal(b, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Outcome != run.Aborted || len(rep.Changes) != 1 || rep.Changes[0].Object.Name != "csi-1" || len(rep.Steps) != 1 {
		t.Errorf("report %+v", rep)
	}
	for _, f := range []string{got.Markdown, got.HTML} {
		if b, err := os.ReadFile(f); err != nil || !strings.Contains(string(b), "Aborted") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestVerdicts: the section carries what was measured against the plan's objectives, for those who do not read the report.
func TestVerdicts(t *testing.T) {
	h, _ := handler(t)
	h.Env.LoadPlan = func(context.Context, run.PlanRef) (*plan.Plan, error) {
		return &plan.Plan{Spec: plan.Spec{Objectives: plan.Objectives{RTO: plan.Duration(time.Minute), RPO: plan.Duration(time.Second)}}}, nil
	}
	began := time.Unix(10, 0)
	passed, beat, lost := began.Add(30*time.Second), began.Add(-2*time.Second), int64(2000)
	got, err := h.Handle(context.Background(), "report", "Report", run.Run{ID: "run-1", StartedAt: began, Trigger: run.Trigger{At: began},
		Gate: &run.Gate{Phase: run.Passed, PassedAt: &passed, HeartbeatAt: &beat, HeartbeatPod: "pg-0", RPOMS: &lost}})
	if err != nil {
		t.Fatal(err)
	}
	if v := got.RTO; v == nil || v.MeasuredMS != 30_000 || v.ObjectiveMS != 60_000 || v.Met == nil || !*v.Met {
		t.Errorf("RTO %+v", v)
	}
	if v := got.RPO; v == nil || v.MeasuredMS != 2000 || v.ObjectiveMS != 1000 || v.Met == nil || *v.Met || !strings.Contains(v.From, "measured in the data") {
		t.Errorf("RPO %+v", v)
	}
	b, err := os.ReadFile(got.JSON)
	if err != nil || !strings.Contains(string(b), `"waterfall"`) {
		t.Errorf("the report has no waterfall: %v", err)
	}
}

// TestARunIsCountedWhenItsReportIsWritten, with what the report says of it; a count that fails is tried again with the report.
func TestARunIsCountedWhenItsReportIsWritten(t *testing.T) {
	h, dir := handler(t)
	var counted []telemetry.Run
	fails := fault.New(fault.Throttled, "write metrics.json", nil)
	h.Count = func(_ context.Context, r telemetry.Run) error {
		if _, err := os.Stat(filepath.Join(dir, "run-1", "report.html")); err != nil {
			t.Errorf("counted before the report was written: %v", err)
		}
		if counted = append(counted, r); len(counted) == 1 {
			return fails
		}
		return nil
	}
	began := time.Unix(10, 0)
	passed := began.Add(30 * time.Second)
	r := run.Run{ID: "run-1", Mode: run.Drill, Plan: run.PlanRef{Name: "shop"}, StartedAt: began, Trigger: run.Trigger{At: began},
		Demotions: map[string]run.Demotion{"VolumeAttachmentSync": {}}, Outcome: &run.OutcomeSection{Name: run.Recovered}, Gate: &run.Gate{Phase: run.Passed, PassedAt: &passed}}
	if _, err := h.Handle(t.Context(), "report", "Report", r); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	if _, err := h.Handle(t.Context(), "report", "Report", r); err != nil || len(counted) != 2 {
		t.Fatalf("%v, counted %+v", err, counted)
	}
	if c := counted[1]; c.ID != "run-1" || c.Plan != "shop" || c.Mode != run.Drill || c.Outcome != run.Recovered || c.Demotions != 1 || c.RTO == nil || c.RTO.MeasuredMS != 30_000 || c.RPO != nil || !c.At.Equal(time.Unix(100, 0)) {
		t.Errorf("counted %+v", c)
	}
	h.Store = full{}
	if _, err := h.Handle(t.Context(), "report", "Report", r); err == nil || len(counted) != 2 {
		t.Errorf("without a report it is counted: %v", err)
	}
}

func TestAFullDiskIsAFaultThatIsRetried(t *testing.T) {
	h, _ := handler(t)
	h.Store = full{}
	_, err := h.Handle(context.Background(), "report", "Report", run.Run{ID: "run-1"})
	if fault.From(err).Code != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}

type full struct{}

func (full) Put(context.Context, string, string, []byte) (string, error) {
	return "", errors.New("no space left on device")
}
