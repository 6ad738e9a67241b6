package run

import (
	"fmt"
	"slices"
)

// severities from the most pressing to the least.
var severities = []string{Stop, Warning, Note}

// Pressing sorts findings by severity, Stop first; within one they keep their order.
func Pressing(findings []Finding) []Finding {
	out := slices.Clone(findings)
	slices.SortStableFunc(out, func(a, b Finding) int {
		return slices.Index(severities, a.Severity) - slices.Index(severities, b.Severity)
	})
	return out
}

// FewFindings keeps the first n findings, their texts at most width runes each, and says how many more there were.
func FewFindings(list []Finding, n, width int) []Finding {
	if len(list) == 0 {
		return nil
	}
	out := make([]Finding, 0, min(len(list), n+1))
	for i, f := range list {
		if i == n {
			return append(out, Finding{Severity: Note, Subject: "and more", Problem: fmt.Sprintf("%d more findings", len(list)-n)})
		}
		f.Subject, f.Problem, f.Means = Short(f.Subject, width), Short(f.Problem, width), Short(f.Means, width)
		out = append(out, f)
	}
	return out
}

// Stops tells whether a finding is a Stop.
func Stops(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Stop })
}
