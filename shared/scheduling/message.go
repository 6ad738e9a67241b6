// Package scheduling tells a FailedScheduling that waiting mends from one that it does not. FailedScheduling is normal while
// pods are made, volumes move and nodes come; it is final only when it persists and everything that its message names is
// something that waiting cannot change.
package scheduling

import (
	"regexp"
	"strconv"
	"strings"
)

// Reason is one part of a scheduler's message, with the number of nodes that it excludes (0: the pod as a whole).
type Reason struct {
	Nodes int
	Text  string
}

var (
	// header begins the message of a pod that fits on no node (pkg/scheduler/framework/types.go, FitError.Error).
	header  = regexp.MustCompile(`^0/([0-9]+) nodes are available`)
	counted = regexp.MustCompile(`^([0-9]+) (.+)$`)
)

// Parse splits a scheduler's message: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}.
// preemption: ...". What follows the first sentence is about preemption and is left out. ok is false when the message
// is no FitError; it is then one reason as a whole.
func Parse(message string) (total int, reasons []Reason, ok bool) {
	m := header.FindStringSubmatch(message)
	if m == nil {
		return 0, []Reason{{Text: strings.TrimSpace(message)}}, false
	}
	total, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, []Reason{{Text: strings.TrimSpace(message)}}, false
	}
	rest := strings.TrimPrefix(message[len(m[0]):], ":")
	rest = sentence(rest)
	for _, part := range split(rest) {
		r := Reason{Text: part}
		if c := counted.FindStringSubmatch(part); c != nil {
			if n, err := strconv.Atoi(c[1]); err == nil {
				r = Reason{Nodes: n, Text: c[2]}
			}
		}
		reasons = append(reasons, r)
	}
	return total, reasons, true
}

// sentence cuts behind the first full stop that a space follows, outside braces and brackets.
func sentence(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth = max(0, depth-1)
		case '.':
			if depth == 0 && i+1 < len(s) && s[i+1] == ' ' {
				return s[:i+1]
			}
		}
	}
	return s
}

// split cuts at ", " outside braces and brackets (a taint's value and a list of plugins may hold commas) and trims the
// sentence's full stop.
func split(s string) []string {
	var out []string
	depth, start := 0, 0
	add := func(end int) {
		if p := strings.TrimSuffix(strings.TrimSpace(s[start:end]), "."); p != "" {
			out = append(out, p)
		}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth = max(0, depth-1)
		case ',':
			if depth == 0 {
				add(i)
				start = i + 1
			}
		}
	}
	add(len(s))
	return out
}
