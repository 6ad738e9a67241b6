package events

import (
	"fmt"
	"strings"
)

// Mistake is one thing that is wrong with an input.
type Mistake struct {
	// Field is the path as it stands in the JSON, e.g. "detail.plan.uri".
	Field string
	// Got is what stands there, as JSON; empty when the field is missing.
	Got string
	// Want is what was expected.
	Want string
}

func (m Mistake) String() string {
	if m.Got == "" {
		return fmt.Sprintf("%s is missing: expected %s", m.Field, m.Want)
	}
	return fmt.Sprintf("%s is %s: expected %s", m.Field, m.Got, m.Want)
}

// Mistakes are all that is wrong with one input.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	s := make([]string, len(m))
	for i := range m {
		s[i] = m[i].String()
	}
	return strings.Join(s, "; ")
}

// Err is nil when there are no mistakes.
func (m Mistakes) Err() error {
	if len(m) == 0 {
		return nil
	}
	return m
}

// maxGot bounds how much of a wrong value a message repeats, in bytes.
const maxGot = 120

func clip(s string) string {
	if len(s) <= maxGot {
		return s
	}
	return strings.ToValidUTF8(s[:maxGot], "") + "…"
}
