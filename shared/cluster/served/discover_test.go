package served

import "testing"

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"kind":"APIVersions","versions":["v1"]}`, `{"kind":"APIGroupList","groups":[{"name":"a","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`,
		`{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"a"},"versions":[{"version":"v1","freshness":"Stale","resources":[{"resource":"x","responseKind":{"kind":"X"},"scope":"Namespaced","verbs":["list"]}]}]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		groups, err := parse("/apis", body)
		if err != nil && len(groups) > 0 {
			t.Error("groups beside an error")
		}
		for _, g := range groups {
			// Readers take the first version for the preferred one.
			if len(g.Versions) == 0 {
				t.Errorf("group %q has no version", g.Name)
			}
			for _, v := range g.Versions {
				for _, r := range v.Resources {
					if r.Kind == "" || r.GroupVersion() != v.GroupVersion {
						t.Errorf("%+v in %s", r, v.GroupVersion)
					}
				}
			}
		}
	})
}
