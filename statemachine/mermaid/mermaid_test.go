package mermaid_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/mermaid"
)

func render(t testing.TB, o mermaid.Options) string {
	t.Helper()
	out, err := mermaid.Render(chain.Fallback(), o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTheCommittedDiagramsAreTheGraph(t *testing.T) {
	for name, o := range map[string]mermaid.Options{
		"fallback.mmd":          {},
		"fallback-states.mmd":   {Expanded: true},
		"fallback-recover.mmd":  {Mode: "recover"},
		"fallback-drill.mmd":    {Mode: "drill"},
		"fallback-evaluate.mmd": {Mode: "evaluate"},
	} {
		want, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if render(t, o) != string(want) {
			t.Errorf("statemachine/%s is not what the graph says; run make generate", name)
		}
	}
}

func TestDrawingIsByteStable(t *testing.T) {
	first := render(t, mermaid.Options{})
	for range 5 {
		if render(t, mermaid.Options{}) != first {
			t.Fatal("two drawings differ")
		}
	}
}

// The picture is the flowchart of the design: three tiers in their order, each falling to the next, the gate after all.
func TestThePictureIsTheFlowchart(t *testing.T) {
	text := render(t, mermaid.Options{Mode: "recover"})
	for _, line := range []string{
		`AssessCluster -->|"Assessed"| ChooseTier`,
		`ChooseTier -->|"CSIDriverHealthy is True<br>and PVCsBound is True<br>and VolumeAttachmentSync enabled"| VolumeAttachmentSync`,
		`ChooseTier -->|"DegradedStatefulSet enabled"| IsolateWorkload`,
		`VolumeAttachmentSync -.->|"Failed, fault"| AssessAfterVolumeAttachmentSync`,
		`ControlPlaneReconcile -.->|"Failed, fault"| AssessAfterControlPlaneReconcile`,
		`VolumeAttachmentSync -->|"Succeeded"| ApplicationGate`,
		`ControlPlaneReconcile -->|"Succeeded"| ApplicationGate`,
		`DegradedStatefulSet -->|"Succeeded"| ApplicationGate`,
		`ApplicationGate -->|"Ready"| ReadOnlyTransaction`,
		`ReadOnlyTransaction -.->|"Refused, fault"| GiveUp`,
		`GiveUp -->|"otherwise"| Rollback`,
	} {
		if !strings.Contains(text, "    "+line+"\n") {
			t.Errorf("the picture has no line\n%s", line)
		}
	}
	for _, no := range []string{"IsolateDrill", "TeardownAfterPass", "AssessOnly", "AwaitRollback"} {
		if strings.Contains(text, no) {
			t.Errorf("the picture of recover has %s", no)
		}
	}
}

func TestEveryNodeIsDrawnOnceAndEveryArrowJoinsNodes(t *testing.T) {
	for _, o := range []mermaid.Options{{}, {Expanded: true}, {Mode: "drill"}, {Mode: "failover"}} {
		declared := map[string]int{}
		lines := strings.Split(render(t, o), "\n")
		for _, l := range lines {
			l = strings.TrimSpace(l)
			if i := strings.IndexAny(l, "[{("); i > 0 && !strings.Contains(l, ">") {
				declared[l[:i]]++
			}
		}
		for _, l := range lines {
			l = strings.TrimSpace(l)
			if !strings.Contains(l, "->") {
				continue
			}
			words := strings.Fields(l)
			for _, end := range []string{words[0], words[len(words)-1]} {
				if declared[end] != 1 {
					t.Errorf("%+v: %q is declared %d times, in %q", o, end, declared[end], l)
				}
			}
		}
	}
}

func TestArrowsForText(t *testing.T) {
	leads, err := mermaid.Arrows(chain.Fallback(), mermaid.Options{Mode: "evaluate"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leads {
		if l.State == "ByOutcome" {
			if got, want := strings.Join(l.To, "; "), "Evaluated (outcome.name is Evaluated); Aborted (outcome.name is Aborted)"; got != want {
				t.Errorf("%s; want %s", got, want)
			}
			return
		}
	}
	t.Error("no ByOutcome")
}

func TestWhatCannotBeDrawnIsNamed(t *testing.T) {
	for _, c := range []struct {
		mutate func(*graph.Graph)
		o      mermaid.Options
		want   string
	}{
		{func(*graph.Graph) {}, mermaid.Options{Mode: "fly"}, `no mode "fly"; it has evaluate, recover, drill, failover, failback`},
		{func(g *graph.Graph) { g.Node("Admit").Call = "" }, mermaid.Options{}, "graph fallback"},
		{func(g *graph.Graph) { g.Node("GiveUp").Rules[0].When.Path = "$.weather" }, mermaid.Options{}, "no declared finite domain"},
	} {
		g := chain.Fallback()
		c.mutate(g)
		if _, err := mermaid.Render(g, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
		if _, err := mermaid.Arrows(g, c.o); err == nil {
			t.Errorf("want %q", c.want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for b.Loop() {
		out, err := mermaid.Render(chain.Fallback(), mermaid.Options{})
		if err != nil || !bytes.Contains(out, []byte("flowchart")) {
			b.Fatal(err)
		}
	}
}
