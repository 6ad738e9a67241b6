package rights

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/audit"
)

// recordedRights are what the scenario packages saw the functions use.
func recordedRights(t *testing.T) []Right {
	t.Helper()
	all, err := filepath.Glob("recorded/*.txt")
	if err != nil || len(all) < 3 {
		t.Fatalf("recorded files %v, %v: expected one for each scenario package", all, err)
	}
	var out []Right
	for _, path := range all {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		have, err := Read(strings.NewReader(string(data)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(have) == 0 {
			t.Errorf("%s records nothing", path)
		}
		var text strings.Builder
		if err := have.Write(&text, Compare); err != nil || text.String() != string(data) {
			t.Errorf("%s is not as it is written: sorted, two spaces before a mark (%v)", path, err)
		}
		out = append(out, have.Lines(Compare)...)
	}
	return Distinct(out)
}

// TestRightsAreWhatIsUsed: every recorded call is granted, and whatever else is granted has its reason. Nothing differs besides.
func TestRightsAreWhatIsUsed(t *testing.T) {
	granted, err := Granted()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("reasons.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := Reasons(data)
	if err != nil {
		t.Fatal(err)
	}
	used := recordedRights(t)
	excused := slices.Collect(maps.Keys(reasons))
	for _, r := range Minus(used, granted) {
		t.Errorf("used and not granted: %s", r)
	}
	for _, r := range Distinct(Minus(Minus(granted, used), excused)) {
		t.Errorf("granted, not used, and without a reason in reasons.yaml: %s", r)
	}
	for _, r := range Distinct(Minus(excused, granted)) {
		t.Errorf("reasons.yaml has a reason for what is not granted: %s", r)
	}
	for _, r := range Distinct(excused) {
		if slices.Contains(used, r) {
			t.Errorf("reasons.yaml has a reason for what the scenarios use: %s", r)
		}
	}
	with := map[string]bool{}
	for _, r := range used {
		with[r.Function] = true
	}
	if have := slices.Sorted(maps.Keys(with)); !slices.Equal(have, kubernetes.Functions()) {
		t.Errorf("functions with recorded calls: %v, with groups: %v", have, kubernetes.Functions())
	}
}

func TestParse(t *testing.T) {
	for _, line := range []string{"assess get pods", "assess get /readyz", "gate create pods/portforward", "lease get leases.coordination.k8s.io in fallback-chain",
		"assess get namespaces named kube-system", "a get b.c named d in e"} {
		r, err := Parse(line)
		if err != nil || r.String() != line {
			t.Errorf("%q became %q, %v", line, r, err)
		}
	}
	for _, line := range []string{"", "assess get", "assess get pods named", "assess get pods of shop", "assess get pods in a named b", "assess get pods in a in b"} {
		if r, err := Parse(line); err == nil {
			t.Errorf("%q was taken for %q", line, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("assess get namespaces named kube-system in x")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := Parse(line)
		if err != nil {
			return
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Errorf("%q became %q, %v", line, again, err)
		}
	})
}

func TestReasons(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"good":        {"- reason: Why.\n  rights: [assess get pods, assess list pods]\n", ""},
		"twice":       {"- reason: Why.\n  rights: [assess get pods]\n- reason: So.\n  rights: [assess get pods]\n", "two reasons"},
		"none":        {"- reason: ' '\n  rights: [assess get pods]\n", "expected a sentence"},
		"for nothing": {"- reason: Why.\n", "expected a sentence"},
		"no right":    {"- reason: Why.\n  rights: [pods]\n", "expected a function"},
		"other field": {"- because: Why.\n", "because"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := Reasons([]byte(tc.text))
			if (tc.says == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.says)) || (err == nil && len(list) != 2) {
				t.Errorf("got %v, %v", list, err)
			}
		})
	}
}

const roles = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: fallback-chain-assess}
rules:
- {nonResourceURLs: [/readyz], verbs: [get]}
- {apiGroups: [""], resources: [namespaces], resourceNames: [kube-system, b], verbs: [get]}
- {apiGroups: [apps], resources: [statefulsets, statefulsets/scale], verbs: [get, patch]}
- {apiGroups: ["*"], resources: ["*"], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fallback-chain-assess}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "fallback-chain:assess"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: leases, namespace: fallback-chain}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: leases, namespace: fallback-chain}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: leases}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "fallback-chain:lease"}]
`

func TestGranted(t *testing.T) {
	got, err := granted(docs(roles))
	want := `assess list *
assess get /readyz
assess get namespaces named b
assess get namespaces named kube-system
assess get statefulsets.apps
assess patch statefulsets.apps
assess get statefulsets.apps/scale
assess patch statefulsets.apps/scale
lease get leases.coordination.k8s.io in fallback-chain
`
	if text := lines(got); err != nil || text != want {
		t.Errorf("got %v\n%s", err, text)
	}
	for name, change := range map[string][2]string{
		"a wildcard":         {"resources: [leases], verbs: [get]", "resources: [leases], verbs: ['*']"},
		"every write":        {"verbs: [list]", "verbs: [list, delete]"},
		"an unknown subject": {"fallback-chain:lease", "fallback-chain:lese"},
		"an unknown role":    {"kind: Role, name: leases", "kind: Role, name: lease"},
		"a user":             {"kind: Group, name: \"fallback-chain:lease\"", "kind: User, name: \"fallback-chain:lease\""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(roles, change[0], change[1], 1)
			if text == roles {
				t.Fatal("the change changed nothing")
			}
			if _, err := granted(docs(text)); err == nil {
				t.Error("was taken")
			}
		})
	}
}

func lines(list []Right) (text string) {
	for _, r := range list {
		text += r.String() + "\n"
	}
	return text
}

func docs(text string) [][]byte {
	var out [][]byte
	for d := range strings.SplitSeq(text, "---\n") {
		out = append(out, []byte(d))
	}
	return out
}

func TestUsed(t *testing.T) {
	event := func(verb, group, resource, sub, namespace, name string, code int) audit.Event {
		var e audit.Event
		e.Verb, e.User.Groups, e.Response.Code = verb, []string{"system:authenticated", "fallback-chain:assess"}, code
		e.Object.APIGroup, e.Object.Resource, e.Object.Subresource, e.Object.Namespace, e.Object.Name = group, resource, sub, namespace, name
		return e
	}
	path := func(uri string) audit.Event {
		e := event("get", "", "", "", "", "", 200)
		e.URI = uri
		return e
	}
	stranger := event("delete", "", "nodes", "", "", "a", 200)
	stranger.User.Groups = []string{"system:masters"}
	have, err := granted(docs(roles))
	if err != nil {
		t.Fatal(err)
	}
	got := Used(Calls([]audit.Event{
		path("/readyz?verbose"), path("/apis/apps/v1"), path("/api"), stranger,
		event("create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", "", 201),
		event("get", "", "namespaces", "", "kube-system", "kube-system", 200),
		event("get", "", "namespaces", "", "other", "other", 200),
		event("list", "example.com", "anything", "", "shop", "", 200),
		event("patch", "apps", "statefulsets", "", "shop", "pg", 200),
		event("patch", "", "configmaps", "", "shop", "a", 201),
		event("get", "", "pods", "portforward", "shop", "pg-0", 101),
	}), have)
	want := `assess list *
assess get /readyz
assess create configmaps
assess patch configmaps
assess get namespaces
assess get namespaces named kube-system
assess create pods/portforward
assess get pods/portforward
assess patch statefulsets.apps
`
	if text := lines(got); text != want {
		t.Errorf("got\n%s", text)
	}
}

func TestRefused(t *testing.T) {
	have, err := granted(docs(roles))
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) Right {
		return Right{Function: "assess", Verb: "get", Resource: "namespaces", Name: name}
	}
	for name, tc := range map[string]struct {
		call    Call
		refused bool
	}{
		"answered":                      {Call{get("other"), 200, false}, false},
		"not granted":                   {Call{get("other"), 403, true}, true},
		"granted, to a starting server": {Call{get("kube-system"), 403, true}, false},
		"granted, refused by a policy":  {Call{get("kube-system"), 403, false}, true},
		"refused for another reason":    {Call{get("other"), 409, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Refused([]Call{tc.call}, have); (len(got) == 1) != tc.refused {
				t.Errorf("got %v", got)
			}
		})
	}
}
