package plan

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time.Duration written as Go writes it: "45s", "5m", "1h30m".
type Duration time.Duration

// DurationPattern is what a duration looks like in a plan: a subset of https://pkg.go.dev/time#ParseDuration without
// signs and without units below the millisecond.
const DurationPattern = `^([0-9]+(\.[0-9]{1,3})?(ms|s|m|h))+$`

var durationShape = regexp.MustCompile(DurationPattern)

// parseDuration reads what DurationPattern describes, in whole milliseconds.
func parseDuration(s string) (Duration, error) {
	if len(s) > 64 || !durationShape.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration such as 45s or 5m", shorten(s))
	}
	v, err := time.ParseDuration(s)
	if err != nil || v > durationLimit || v%time.Millisecond != 0 {
		return 0, fmt.Errorf("%q is not a duration such as 45s or 5m", s)
	}
	return Duration(v), nil
}

// D is the value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes the duration without units that are zero: "5m", not "5m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// IsZero lets encoders leave an unset duration out.
func (d Duration) IsZero() bool { return d == 0 }

// MarshalYAML writes the duration as text.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML reads the duration from text.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*d = v
	return nil
}

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the duration from text.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is text such as \"5m\": %w", err)
	}
	v, err := parseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}
