package asl_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

func render(t testing.TB, g *graph.Graph) []byte {
	t.Helper()
	out, err := asl.Render(g)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheCommittedDefinitionIsTheGraph(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "fallback.asl.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(render(t, chain.Fallback()), want) {
		t.Error("statemachine/fallback.asl.json is not what the graph says; run make generate")
	}
}

func TestRenderingIsByteStable(t *testing.T) {
	first := render(t, chain.Fallback())
	for range 5 {
		if !bytes.Equal(first, render(t, chain.Fallback())) {
			t.Fatal("two renderings differ")
		}
	}
}

// The definition runs on every engine: JSONPath, no intrinsic functions, the plain Lambda ARN as the resource.
func TestTheDefinitionIsPlain(t *testing.T) {
	text := string(render(t, chain.Fallback()))
	for _, no := range []string{"States.Format", "States.Json", "States.Array", "States.Math", "JSONata", "arn:aws:states", `\u003c`} {
		if strings.Contains(text, no) {
			t.Errorf("the definition has %s", no)
		}
	}
	var d struct {
		StartAt, QueryLanguage string
		TimeoutSeconds         int
		States                 map[string]struct {
			Type, Resource, ResultPath, Next, Default string
			End                                       bool
			TimeoutSeconds                            int
			Parameters                                map[string]string
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if d.QueryLanguage != "JSONPath" || d.StartAt != "Admit" || d.TimeoutSeconds == 0 {
		t.Errorf("top: %s, %s, %d", d.QueryLanguage, d.StartAt, d.TimeoutSeconds)
	}
	s := d.States["AwaitVolumeAttachmentSync"]
	if s.Resource != "${VolumesyncFunctionArn}" || s.ResultPath != "$.volumesync" || s.TimeoutSeconds != 75 ||
		len(s.Parameters) != 5 || s.Parameters["op"] != "await" || s.Parameters["state.$"] != "$$.State.Name" ||
		s.Parameters["retries.$"] != "$$.State.RetryCount" || s.Parameters["execution.$"] != "$$.Execution.Name" || s.Parameters["run.$"] != "$" {
		t.Errorf("%+v", s)
	}
	for name, s := range d.States {
		if s.Type == "Task" && s.TimeoutSeconds == 0 {
			t.Errorf("%s has no timeout", name)
		}
	}
}

func TestWhatCannotBeRenderedIsNamed(t *testing.T) {
	for want, mutate := range map[string]func(*graph.Graph){
		"state GiveUp":   func(g *graph.Graph) { g.Node("GiveUp").Rules[0].When = cond.All() },
		"graph fallback": func(g *graph.Graph) { g.Node("Admit").Call = "" },
	} {
		g := chain.Fallback()
		mutate(g)
		if _, err := asl.Render(g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestLogicalName(t *testing.T) {
	for in, want := range map[string]string{"admit": "AdmitFunction", "rollbackpoint": "RollbackpointFunction", "": ""} {
		if got := asl.LogicalName(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for b.Loop() {
		render(b, chain.Fallback())
	}
}
