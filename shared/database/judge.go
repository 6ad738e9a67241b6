package database

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"fallbackchain.io/fallback/shared/plan"
)

// Kinds of a Result beside those of a plan's queries.
const (
	HeartbeatKind plan.QueryKind = "Heartbeat"
	CanaryKind    plan.QueryKind = "Canary"
)

// judge is one query and what is made of its answer.
type judge struct {
	name     string
	kind     plan.QueryKind
	sql      string
	expected string
	// secret tells that nothing of the answer, nor what a server says of the query, may be shown.
	secret bool
	hold   func(*Result, answer)
}

func judges(q Questions) []judge {
	var out []judge
	for _, query := range q.Queries {
		kind := query.Kind
		if kind == "" {
			kind = plan.SmokeQuery
		}
		out = append(out, judge{name: query.Name, kind: kind, sql: query.SQL, expected: Describe(query.Expect),
			hold: func(r *Result, a answer) { holdQuery(r, query, a) }})
	}
	if q.Heartbeat != nil {
		out = append(out, judge{name: "heartbeat", kind: HeartbeatKind, sql: q.Heartbeat.SQL, expected: "a time, not in the future",
			hold: func(r *Result, a answer) { holdHeartbeat(r, a, q.Now) }})
	}
	if q.Canary != nil {
		out = append(out, judge{name: "canary", kind: CanaryKind, sql: q.Canary.SQL, expected: digestOf(q.Canary.SHA256), secret: true,
			hold: func(r *Result, a answer) { holdCanary(r, a, q.Canary.SHA256) }})
	}
	return out
}

// whole is a count.
var whole = regexp.MustCompile(`^[0-9]+$`)

func holdQuery(r *Result, q plan.Query, a answer) {
	r.Got = string(a.value)
	switch {
	case q.Kind == plan.RowCountQuery && !whole.MatchString(r.Got):
		r.Got += " (not a whole number of rows)"
		return
	case q.Kind == plan.ChecksumQuery && q.Expect.Equals != nil:
		// As bytes: two digests such as 0e12 and 0e34 are the same number.
		r.OK = r.Got == *q.Expect.Equals
		return
	}
	ok, err := Meets(q.Expect, r.Got)
	if r.OK = ok; err != nil {
		r.Got += " (" + err.Error() + ")"
	}
}

func holdHeartbeat(r *Result, a answer, now time.Time) {
	at, err := ParseHeartbeat(string(a.value))
	switch {
	case err != nil:
		r.Got = Cap(string(a.value)) + ": " + err.Error()
	case at.After(now.Add(Skew)):
		r.Got = fmt.Sprintf("%s, which is %s in the future", at.Format(time.RFC3339Nano), at.Sub(now).Round(time.Second))
	default:
		r.Got, r.OK, r.At = at.Format(time.RFC3339Nano), true, &at
	}
}

// holdCanary compares digests: of the value no byte goes anywhere.
func holdCanary(r *Result, a answer, want string) {
	if a.rounded {
		r.Got = "a floating-point number, which has no exact text: cast it to one"
		return
	}
	sum := sha256.Sum256(a.value)
	got := hex.EncodeToString(sum[:])
	r.Got, r.OK = digestOf(got), got == want
}

// digestOf is enough of a digest to tell it from another one.
func digestOf(hexDigits string) string {
	const shown = 12
	return "sha256:" + hexDigits[:min(shown, len(hexDigits))] + "…"
}
