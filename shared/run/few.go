package run

import (
	"encoding/json"
	"fmt"
)

// Few keeps the first n lines of a list, each at most width runes, and says how many more there were, so that a section stays
// under SectionLimit.
func Few(list []string, n, width int) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, 0, min(len(list), n+1))
	for i, s := range list {
		if i == n {
			return append(out, fmt.Sprintf("and %d more", len(list)-n))
		}
		out = append(out, Short(s, width))
	}
	return out
}

// Short cuts a text to width runes.
func Short(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return string(r[:width-1]) + "…"
}

// List sets Found and Done, cut until the section stays under SectionLimit.
func (t *Tier) List(found, done []string) {
	for n, width := 14, 220; ; n, width = n-2, width*3/4 {
		t.Found, t.Done = Few(found, n, width), Few(done, n, width)
		if n <= 2 || Fits(t) {
			return
		}
	}
}

// Fits tells whether a section stays under SectionLimit.
func Fits(section any) bool {
	b, err := json.Marshal(section)
	return err == nil && len(b) <= SectionLimit
}
