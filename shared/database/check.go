package database

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fallbackchain.io/fallback/shared/plan"
)

// ValueLimit is the most characters of an answer that a result keeps.
const ValueLimit = 200

// Result is what came of one validation query.
type Result struct {
	Name string
	// Kind is the plan's for its queries, HeartbeatKind or CanaryKind.
	Kind plan.QueryKind
	// Expected is the expectation in words, Got the answer, or why there is none. Got has at most ValueLimit characters.
	Expected, Got string
	OK            bool
	Took          time.Duration
	// At is the time that a heartbeat read, when it is a good one.
	At *time.Time
}

// Cap shortens a text to ValueLimit characters and replaces what is not UTF-8.
func Cap(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= ValueLimit {
		return s
	}
	return string([]rune(s)[:ValueLimit-1]) + "…"
}

// Describe is an expectation in words.
func Describe(e plan.Expect) string {
	switch {
	case e.Equals != nil:
		return Cap("= " + *e.Equals)
	case e.AtLeast != nil:
		return "≥ " + strconv.FormatFloat(*e.AtLeast, 'f', -1, 64)
	case e.AtMost != nil:
		return "≤ " + strconv.FormatFloat(*e.AtMost, 'f', -1, 64)
	case e.Matches != nil:
		return Cap("matches " + *e.Matches)
	default:
		return "nothing"
	}
}

// Meets holds an answer against an expectation. Equality is that of the texts or, when both are decimal numbers, of the
// numbers. An expectation that says nothing is never met.
func Meets(e plan.Expect, got string) (bool, error) {
	switch {
	case e.Equals != nil:
		if got == *e.Equals {
			return true, nil
		}
		a, aok := number(got)
		b, bok := number(*e.Equals)
		return aok && bok && a.Cmp(b) == 0, nil
	case e.AtLeast != nil:
		return compare(got, *e.AtLeast, func(c int) bool { return c >= 0 })
	case e.AtMost != nil:
		return compare(got, *e.AtMost, func(c int) bool { return c <= 0 })
	case e.Matches != nil:
		re, err := regexp.Compile(`\A(?:` + *e.Matches + `)\z`)
		if err != nil {
			return false, fmt.Errorf("the expectation is no regular expression: %w", err)
		}
		return re.MatchString(got), nil
	default:
		return false, errors.New("the query has no expectation")
	}
}

func compare(got string, want float64, ok func(int) bool) (bool, error) {
	n, isNumber := number(got)
	// By its shortest decimal, as the plan writes it: the float64 nearest to 0.1 is a little more than 0.1.
	w, finite := number(strconv.FormatFloat(want, 'f', -1, 64))
	if !isNumber || !finite {
		return false, errors.New("not a number")
	}
	return ok(n.Cmp(w)), nil
}

// decimal is how PostgreSQL writes a number; big.Rat alone would also take fractions and hexadecimals, and a huge exponent
// would make it allocate without bound.
var decimal = regexp.MustCompile(`^[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?$`)

func number(s string) (*big.Rat, bool) {
	s = strings.TrimSpace(s)
	if !decimal.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}
