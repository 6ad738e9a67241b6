package run

import "testing"

func TestTitleOfASnapshot(t *testing.T) {
	for want, s := range map[string]Snapshot{
		"shop/s":                    {Namespace: "shop", Name: "s", Handle: "h", Driver: "d"},
		"handle h of driver d":      {Handle: "h", Driver: "d"},
		"handle h":                  {Handle: "h"},
		"without a name and handle": {Driver: "d"},
	} {
		if got := s.Title(); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}
