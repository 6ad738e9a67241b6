package degraded

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/steptest"
)

func podSpec(t *testing.T, text string) map[string]any {
	t.Helper()
	return steptest.Object(t, "kind: Pod\nspec: "+text).Object["spec"].(map[string]any)
}

func TestRelax(t *testing.T) {
	const everything = `{nodeSelector: {disk: ssd}, affinity: {podAntiAffinity: {}}, topologySpreadConstraints: [{maxSkew: 1}], tolerations: [{key: a}], unknown: kept,
  containers: [{name: a, resources: {requests: {cpu: "4", memory: 8Gi}, limits: {cpu: "4", memory: 64Mi}}}, {name: b}], initContainers: [{name: i, resources: {requests: {cpu: "2"}}}]}`
	for _, tc := range []struct {
		name, in string
		relax    plan.Relax
		want     string
		given    []string
	}{
		{"nothing is given up unless the plan says so", everything, plan.Relax{}, everything, nil},
		{"placement", everything, plan.Relax{NodeSelector: true, Affinity: true, TopologySpread: true, TolerateAll: true},
			`{tolerations: [{operator: Exists}], unknown: kept, containers: [{name: a, resources: {requests: {cpu: "4", memory: 8Gi}, limits: {cpu: "4", memory: 64Mi}}}, {name: b}], initContainers: [{name: i, resources: {requests: {cpu: "2"}}}]}`,
			[]string{"node selector", "affinity and anti-affinity", "topology spread", "respect for taints"}},
		{"requests of every container; limits are never below", `{containers: [{name: a, resources: {requests: {memory: 8Gi}, limits: {memory: 64Mi}}}, {name: b}], initContainers: [{name: i}]}`, plan.Relax{Memory: "128Mi"},
			`{containers: [{name: a, resources: {requests: {memory: 128Mi}, limits: {memory: 128Mi}}}, {name: b, resources: {requests: {memory: 128Mi}}}], initContainers: [{name: i, resources: {requests: {memory: 128Mi}}}]}`,
			[]string{"memory requests (now 128Mi)"}},
		{"what is so already is not given up", `{tolerations: [{operator: Exists}], containers: [{name: a, resources: {requests: {cpu: "0.1"}}}]}`,
			plan.Relax{NodeSelector: true, Affinity: true, TolerateAll: true, CPU: "100m"}, `{tolerations: [{operator: Exists}], containers: [{name: a, resources: {requests: {cpu: "0.1"}}}]}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := podSpec(t, tc.in)
			got, given, err := Relax(in, tc.relax)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(podSpec(t, tc.want), got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.given, given); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(podSpec(t, tc.in), in); d != "" {
				t.Errorf("the input was changed: %s", d)
			}
			if _, again, err := Relax(got, tc.relax); err != nil || len(again) > 0 {
				t.Errorf("relaxing twice gives up %q again (%v)", again, err)
			}
		})
	}
	if _, _, err := Relax(podSpec(t, `{}`), plan.Relax{Memory: "much"}); err == nil {
		t.Error("a quantity that is none was taken")
	}
}
