// Package runid derives the ID of a run. The ID is also the execution's name, a label's value, a part of the drill
// namespace and the holder of the lease, so it is legal as each of them, and it is the same for a redelivered event.
//
// Form: <plan>-<mode>-<UTC yyyymmddhhmmss>-<4 hex>, lower case, for example "shop-drill-20261120020000-9f3c".
//
// Rules it keeps:
//   - Step Functions execution names: 1 to 80 characters, no white space, brackets, wildcards, control characters or any
//     of " # % \ ^ | ~ ` $ & , ; : /; for CloudWatch logging only 0-9 A-Z a-z - _
//     (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html, parameter "name").
//   - DNS-1123 labels, which namespaces and label values follow: at most 63 characters of a-z 0-9 -, beginning and ending
//     with a letter or digit (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names).
package runid

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// MaxLength is the most characters an ID may have (a DNS-1123 label).
const MaxLength = 63

// MaxPlanName is the most characters of a plan's name. With it the longest ID has 59 characters and the longest drill
// namespace 62.
const MaxPlanName = 30

// drillPrefix begins the name of every drill's namespace.
const drillPrefix = "drill-"

// timeLayout is the ID's time: no ':' (not allowed in an execution name), sorts as text.
const timeLayout = "20060102150405"

var (
	label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	form  = regexp.MustCompile(`^(.+)-([a-z]+)-([0-9]{14})-([0-9a-f]{4})$`)
)

// Parts are what an ID is made of.
type Parts struct {
	Plan string
	Mode run.Mode
	// At is the event's time, to the second, in UTC.
	At time.Time
	// Hash is four hexadecimal digits of the event's identity.
	Hash string
}

// New derives the ID of the run that an event starts. identity names the event: it is the same whenever the same event
// is delivered, and differs between two events of one second ("" is refused). Two identities of the same plan, mode and
// second share an ID once in 65,536 times; the run that both ask for is then already under way.
func New(plan string, mode run.Mode, at time.Time, identity string) (string, error) {
	var wrong []error
	if err := CheckPlanName(plan); err != nil {
		wrong = append(wrong, err)
	}
	if !slices.Contains(run.Modes, mode) {
		wrong = append(wrong, fmt.Errorf("mode %q: expected one of %v", mode, run.Modes))
	}
	if at.IsZero() || at.UTC().Year() < 1970 || at.UTC().Year() > 9999 {
		wrong = append(wrong, fmt.Errorf("event time %s: expected a time between the years 1970 and 9999", at))
	}
	if identity == "" {
		wrong = append(wrong, errors.New("event identity is empty: it makes the ID the same for a redelivered event"))
	}
	if len(wrong) > 0 {
		return "", errors.Join(wrong...)
	}
	sum := sha256.Sum256([]byte(identity))
	return plan + "-" + string(mode) + "-" + at.UTC().Format(timeLayout) + "-" + hex.EncodeToString(sum[:2]), nil
}

// Parse takes an ID apart, and refuses one that New cannot have made.
func Parse(id string) (Parts, error) {
	if len(id) > MaxLength {
		return Parts{}, fmt.Errorf("run ID %q has %d characters: expected at most %d", id, len(id), MaxLength)
	}
	m := form.FindStringSubmatch(id)
	if m == nil {
		return Parts{}, fmt.Errorf("run ID %q: expected <plan>-<mode>-<yyyymmddhhmmss>-<4 hex>, e.g. shop-drill-20261120020000-9f3c", id)
	}
	if err := CheckPlanName(m[1]); err != nil {
		return Parts{}, fmt.Errorf("run ID %q: %w", id, err)
	}
	mode := run.Mode(m[2])
	if !slices.Contains(run.Modes, mode) {
		return Parts{}, fmt.Errorf("run ID %q: mode %q: expected one of %v", id, mode, run.Modes)
	}
	at, err := time.Parse(timeLayout, m[3])
	if err != nil || at.Year() < 1970 {
		return Parts{}, fmt.Errorf("run ID %q: %q is not a time such as 20261120020000", id, m[3])
	}
	return Parts{Plan: m[1], Mode: mode, At: at, Hash: m[4]}, nil
}

// CheckPlanName refuses a name that is no DNS-1123 label of at most MaxPlanName characters.
func CheckPlanName(name string) error {
	if name == "" {
		return fmt.Errorf("plan name is empty: expected at most %d characters of a-z, 0-9 and -", MaxPlanName)
	}
	if len(name) > MaxPlanName {
		return fmt.Errorf("plan name %q has %d characters: expected at most %d", name, len(name), MaxPlanName)
	}
	if !label.MatchString(name) {
		return fmt.Errorf("plan name %q: expected a-z, 0-9 and -, beginning and ending with a letter or digit", name)
	}
	return nil
}

// DrillNamespace is the namespace a drill restores into. It is a DNS-1123 label for every ID of mode drill.
func DrillNamespace(id string) string { return drillPrefix + id }

// OfDrillNamespace returns the run ID of a drill's namespace, and false when it is none.
func OfDrillNamespace(namespace string) (string, bool) {
	id, ok := strings.CutPrefix(namespace, drillPrefix)
	if !ok {
		return "", false
	}
	p, err := Parse(id)
	return id, err == nil && p.Mode == run.Drill
}
