package nodeagent

import "testing"

func TestSplitImage(t *testing.T) {
	for image, want := range map[string][2]string{
		"local/postgres:15":                    {"local/postgres", "15"},
		"local/postgres":                       {"local/postgres", ""},
		"registry:5000/local/postgres":         {"registry:5000/local/postgres", ""},
		"registry:5000/local/postgres:16":      {"registry:5000/local/postgres", "16"},
		"local/postgres:15@sha256:0123456789a": {"local/postgres", "15"},
		"":                                     {"", ""},
	} {
		if repo, tag := splitImage(image); repo != want[0] || tag != want[1] {
			t.Errorf("%q: %q %q, want %q", image, repo, tag, want)
		}
	}
}

func FuzzSplitImage(f *testing.F) {
	f.Add("registry:5000/local/postgres:15@sha256:00")
	f.Fuzz(func(t *testing.T, image string) {
		repo, tag := splitImage(image)
		if len(repo)+len(tag) > len(image) {
			t.Errorf("%q: %q %q", image, repo, tag)
		}
	})
}
