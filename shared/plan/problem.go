package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a plan: where it is, what stands there, and what was expected.
type Problem struct {
	// File is the name given to Parse.
	File string `json:"file,omitempty"`
	// Path of the field, e.g. "spec.tiers.volumeAttachmentSync.budget". Empty for the document as a whole.
	Path string `json:"path"`
	// Line and Column count from 1; 0 when the plan was not read from text.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Value is what stands there, shortened; empty when nothing does.
	Value string `json:"value,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Expected says what would be right.
	Expected string `json:"expected,omitempty"`
	// Hint is a guess at what was meant.
	Hint string `json:"hint,omitempty"`
}

// String is "file:line:column: path: message: got value, expected ...; hint".
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	var tail []string
	if p.Value != "" {
		tail = append(tail, fmt.Sprintf("got %q", p.Value))
	}
	if p.Expected != "" {
		tail = append(tail, "expected "+p.Expected)
	}
	if len(tail) > 0 {
		b.WriteString(": " + strings.Join(tail, ", "))
	}
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems are all mistakes of a plan in the order of the text. It is an error when it is not empty: use Err.
type Problems []Problem

// Error lists every problem, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err is nil when there are no problems.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// sorted orders by position and then by path, so that the list is the same every time.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		return strings.Compare(a.Path, b.Path)
	})
	return ps
}

// valueLimit is the most runes of a value that a problem repeats.
const valueLimit = 80

func shorten(s string) string {
	r := []rune(s)
	if len(r) <= valueLimit {
		return s
	}
	return string(r[:valueLimit]) + "…"
}
