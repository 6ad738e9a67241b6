package run

import "fmt"

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
