package rights

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func deployed(t *testing.T) []Function {
	t.Helper()
	template, err := os.ReadFile(filepath.Join("..", "..", "..", "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(template, Deployed())
	if err != nil {
		t.Fatal(err)
	}
	fs, err := s.Functions()
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// reasons expands reasons.yaml: a function * is every function that has the right.
func reasons(t *testing.T, granted []Right) map[Right]string {
	t.Helper()
	data, err := os.ReadFile("reasons.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Reason string
		Rights []string
	}
	if err := yaml.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	out := map[Right]string{}
	for _, e := range list {
		if len(e.Reason) < 20 {
			t.Errorf("%v: the reason is %q", e.Rights, e.Reason)
		}
		for _, line := range e.Rights {
			want, err := ParseRight(line)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, r := range granted {
				resource := strings.ReplaceAll(want.Resource, "{function}", r.Function)
				if (want.Function == "*" || want.Function == r.Function) && r.Action == want.Action && r.Resource == resource {
					out[r], found = e.Reason, true
				}
			}
			if !found {
				t.Errorf("reasons.yaml names %q, which nothing grants", line)
			}
		}
	}
	return out
}

// TestEveryRightIsUsedOrHasAReason: what the template grants is what was recorded (infra/aws/machine writes it down) and what
// reasons.yaml explains, and nothing else.
func TestEveryRightIsUsedOrHasAReason(t *testing.T) {
	granted := Granted(deployed(t))
	have, err := Recorded("recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	recorded := have.Lines(Compare)
	if len(recorded) < 40 {
		t.Errorf("only %d rights are recorded", len(recorded))
	}
	why := reasons(t, granted)
	for _, r := range granted {
		used := slices.Contains(recorded, r)
		switch _, explained := why[r]; {
		case used && explained:
			t.Errorf("%s is recorded: it needs no reason", r)
		case !used && !explained:
			t.Errorf("%s is granted, was never used, and has no reason", r)
		}
	}
	for _, r := range recorded {
		if !slices.Contains(granted, r) {
			t.Errorf("%s was used and is not granted", r)
		}
	}
}

// TestNarrow: no right is for any action of a service, and one for any resource says why it cannot be narrower.
func TestNarrow(t *testing.T) {
	wide := map[string]string{
		"xray:PutTraceSegments":    "X-Ray has no resources for it (https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html)",
		"xray:PutTelemetryRecords": "as above",
	}
	for _, r := range Granted(deployed(t)) {
		if strings.ContainsAny(r.Action, "*?") {
			t.Errorf("%s: an action with a wildcard", r)
		}
		if strings.HasPrefix(r.Resource, "(") {
			t.Errorf("%s: the resource is not resolved", r)
		}
		if r.Resource == "*" && wide[r.Action] == "" {
			t.Errorf("%s: any resource", r)
		}
	}
}
