package testbed

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// call is a line of an audit log.
func call(t *testing.T, function, verb, group, resource string, code int) string {
	t.Helper()
	line, err := json.Marshal(map[string]any{
		"stage": "ResponseComplete", "auditID": function + verb + resource, "verb": verb, "userAgent": "fallback-chain/test", "requestURI": "/x",
		"requestReceivedTimestamp": "2026-11-20T02:00:00.000000Z",
		"user":                     map[string]any{"groups": []string{"fallback-chain:" + function}},
		"objectRef":                map[string]any{"resource": resource, "apiGroup": group, "namespace": "shop", "name": "a"},
		"responseStatus":           map[string]any{"code": code},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// TestCheckRights: what is used and not recorded fails, and so does what is recorded and used no more, when everything ran.
func TestCheckRights(t *testing.T) {
	pods, sets := call(t, "assess", "list", "", "pods", 200), call(t, "assess", "get", "apps", "statefulsets", 200)
	nodes := call(t, "assess", "list", "", "nodes", 200)
	const (
		both  = "assess list pods\nassess get statefulsets.apps\n"
		races = "assess list pods\nassess get statefulsets.apps  # sometimes: a race\n"
		stale = "mine.txt records, and no test used: assess get statefulsets.apps"
	)
	for name, tc := range map[string]struct {
		log, recorded, partial string
		update                 bool
		fails, tells           string
		after                  string // what is recorded then, if not the same
	}{
		"the same":                                {log: pods + sets, recorded: both},
		"used twice":                              {log: pods + pods + sets, recorded: both},
		"not recorded":                            {log: pods + sets + nodes, recorded: both, fails: "mine.txt does not record: assess list nodes"},
		"recorded elsewhere":                      {log: pods + sets + call(t, "assess", "list", "", "events", 200), recorded: both, tells: "recorded of other tests only"},
		"only explained":                          {log: pods + sets + call(t, "volumesync", "get", "", "pods", 200), recorded: both, tells: "only explained: A node is gone."},
		"used no more":                            {log: pods, recorded: both, fails: stale},
		"used no more, and refused":               {log: pods + call(t, "assess", "list", "", "nodes", 403), recorded: both, fails: "the API server refused: assess list nodes"},
		"used no more, by some tests":             {log: pods, recorded: both, partial: "-run is TestOne", tells: "1 of 2 recorded rights were not used by the tests that ran (-run is TestOne)"},
		"no race this time":                       {log: pods, recorded: races},
		"a race this time":                        {log: pods + sets, recorded: races},
		"a mark that says nothing":                {log: pods, recorded: "assess list pods # sometimes:\n", fails: "expected \"sometimes:\" and why"},
		"update: removes":                         {log: pods, recorded: both, update: true, after: "assess list pods\n"},
		"update: adds":                            {log: pods + sets + nodes, recorded: both, update: true, after: "assess list nodes\n" + both},
		"update by some tests: removes not":       {log: pods + nodes, recorded: both, update: true, partial: "-run is TestOne", after: "assess list nodes\n" + both},
		"update: keeps a mark":                    {log: pods, recorded: races, update: true},
		"update after a refusal: removes not":     {log: pods + call(t, "assess", "get", "", "secrets", 403), recorded: both, update: true, fails: "the API server refused: assess get secrets", after: both + "assess get secrets\n"},
		"update where nothing is recorded so far": {log: pods, recorded: "", update: true, after: "assess list pods\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			at := filepath.Join(dir, "infra", "kubernetes", "rights")
			if err := os.MkdirAll(filepath.Join(at, "recorded"), 0o700); err != nil {
				t.Fatal(err)
			}
			mine, log := filepath.Join(at, "recorded", "mine.txt"), filepath.Join(dir, "audit.log")
			for path, text := range map[string]string{mine: tc.recorded, filepath.Join(at, "recorded", "other.txt"): "assess list events\n", log: tc.log,
				filepath.Join(at, "reasons.yaml"): "- reason: A node is gone.\n  rights: [volumesync get pods]\n"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := *updateRights
			*updateRights = tc.update
			defer func() { *updateRights = before }()
			var out strings.Builder
			err := CheckRights(&out, log, "mine", tc.partial)
			if (tc.fails == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.fails)) {
				t.Errorf("got %v, expected %q", err, tc.fails)
			}
			if (tc.tells == "") != (out.Len() == 0) || !strings.Contains(out.String(), tc.tells) {
				t.Errorf("told %q, expected %q", &out, tc.tells)
			}
			after, err := os.ReadFile(mine)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.recorded
			if tc.after != "" {
				want = tc.after
			}
			if !slices.Equal(sorted(string(after)), sorted(want)) {
				t.Errorf("recorded is\n%s\nexpected\n%s", after, want)
			}
		})
	}
}

// sorted leaves the order to infra/kubernetes/rights.
func sorted(text string) []string { return slices.Sorted(strings.Lines(text)) }

func TestPartial(t *testing.T) {
	if got := partial(1); got != "a test failed" {
		t.Errorf("%q", got)
	}
}
