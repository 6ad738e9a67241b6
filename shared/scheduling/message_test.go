package scheduling

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, message string
		total         int
		reasons       []Reason
		ok            bool
	}{
		{"one reason", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", 3,
			[]Reason{{3, "node(s) didn't match Pod's node affinity/selector"}}, true},
		{"preemption is left out", "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.", 3,
			[]Reason{{1, "Insufficient cpu"}, {2, "node(s) had untolerated taint(s)"}}, true},
		{"what 1.36 says before it", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.", 3,
			[]Reason{{3, "node(s) didn't match Pod's node affinity/selector"}}, true},
		{"a comma in a taint", "0/2 nodes are available: 1 node(s) had untolerated taint {team: a,b. c}, 1 Insufficient memory.", 2,
			[]Reason{{1, "node(s) had untolerated taint {team: a,b. c}"}, {1, "Insufficient memory"}}, true},
		{"the pod as a whole", "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.", 3,
			[]Reason{{0, "pod has unbound immediate PersistentVolumeClaims"}}, true},
		{"no nodes", "0/0 nodes are available: .", 0, nil, true},
		{"no FitError", `running PreFilter plugin "VolumeBinding": error getting PVC "shop/data-pg-0"`, 0,
			[]Reason{{0, `running PreFilter plugin "VolumeBinding": error getting PVC "shop/data-pg-0"`}}, false},
		{"a number that is none", "0/99999999999999999999 nodes are available: x.", 0, []Reason{{0, "0/99999999999999999999 nodes are available: x."}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			total, reasons, ok := Parse(tc.message)
			if total != tc.total || ok != tc.ok || !cmp.Equal(reasons, tc.reasons) {
				t.Errorf("total %d ok %v %s", total, ok, cmp.Diff(tc.reasons, reasons))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}. preemption: none")
	f.Add("0/3 nodes are available: {[, }.")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		_, reasons, ok := Parse(s)
		if !ok && len(reasons) != 1 {
			t.Fatalf("%d reasons of a message that is no FitError, expected 1", len(reasons))
		}
		for _, r := range reasons {
			if r.Nodes < 0 {
				t.Fatalf("%d nodes", r.Nodes)
			}
		}
	})
}
