package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func (c *checker) schedule(s *Schedule, path string) {
	for _, f := range []struct{ value, path string }{{s.Drill, path + ".drill"}, {s.Evaluate, path + ".evaluate"}} {
		if f.value == "" {
			continue
		}
		if err := CheckExpression(f.value); err != nil {
			c.add(f.path, f.value, "is not a schedule", err.Error())
		}
	}
	if at := path + ".timeZone"; s.TimeZone != "" && !zoneKnown(s.TimeZone) {
		c.add(at, s.TimeZone, "is not a time zone", "a name of the IANA database such as Europe/Berlin")
	}
}

var zoneShape = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)

// zoneKnown asks the IANA database. On a machine that has none a well-formed name passes: the scheduler that runs it has one.
func zoneKnown(name string) bool {
	if !zoneShape.MatchString(name) || name == "Local" {
		return false
	}
	if _, err := time.LoadLocation(name); err == nil {
		return true
	}
	_, err := time.LoadLocation("Europe/Berlin")
	return err != nil
}

var (
	rateShape = regexp.MustCompile(`^rate\(([1-9][0-9]{0,5}) (minutes?|hours?|days?)\)$`)
	cronShape = regexp.MustCompile(`^cron\((.*)\)$`)
	atShape   = regexp.MustCompile(`^at\((.*)\)$`)
)

// CheckExpression tells what is wrong with an EventBridge Scheduler expression: rate(value unit), cron(six fields) or
// at(yyyy-mm-ddThh:mm:ss). https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
func CheckExpression(s string) error {
	if rateShape.MatchString(s) {
		return nil
	}
	if m := cronShape.FindStringSubmatch(s); m != nil {
		return checkCron(m[1])
	}
	if m := atShape.FindStringSubmatch(s); m != nil {
		if _, err := time.Parse("2006-01-02T15:04:05", m[1]); err != nil {
			return fmt.Errorf("at(yyyy-mm-ddThh:mm:ss)")
		}
		return nil
	}
	return fmt.Errorf("rate(value unit) with minutes, hours or days, cron(six fields) or at(yyyy-mm-ddThh:mm:ss)")
}

// cronField is one field of a cron expression.
type cronField struct {
	name     string
	min, max int
	// words stand for numbers, the first for min.
	words []string
	// more are the wildcards beyond , - * / that the field allows: ? L W #
	more string
}

var cronFields = [6]cronField{
	{name: "minutes", max: 59},
	{name: "hours", max: 23},
	{name: "day of month", min: 1, max: 31, more: "?LW"},
	{name: "month", min: 1, max: 12, words: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of week", min: 1, max: 7, words: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, more: "?L#"},
	{name: "year", min: 1970, max: 2199},
}

func checkCron(s string) error {
	parts := strings.Fields(s)
	if len(parts) != len(cronFields) {
		return fmt.Errorf("cron with six fields (minutes hours day-of-month month day-of-week year), not %d", len(parts))
	}
	for i, f := range cronFields {
		for item := range strings.SplitSeq(parts[i], ",") {
			if !f.allows(item, parts[i]) {
				return fmt.Errorf("%s of %d to %d in place of %q", f.name, f.min, f.max, shorten(parts[i]))
			}
		}
	}
	if (parts[2] == "?") == (parts[4] == "?") {
		return fmt.Errorf("'?' in exactly one of day of month and day of week")
	}
	return nil
}

// allows tells whether one item of a field's list is right; whole is the field.
func (f cronField) allows(item, whole string) bool {
	switch {
	case item == "?" || item == "L" || item == "LW":
		return whole == item && strings.Contains(f.more, item[:1]) && (item != "LW" || strings.Contains(f.more, "W"))
	case strings.Contains(item, "#"):
		day, nth, _ := strings.Cut(item, "#")
		n, err := strconv.Atoi(nth)
		_, ok := f.number(day)
		return strings.Contains(f.more, "#") && ok && err == nil && n >= 1 && n <= 5 && len(nth) == 1
	case len(item) > 1 && strings.HasSuffix(item, "W"):
		_, ok := f.number(strings.TrimSuffix(item, "W"))
		return strings.Contains(f.more, "W") && ok
	case len(item) > 1 && strings.HasSuffix(item, "L"):
		_, ok := f.number(strings.TrimSuffix(item, "L"))
		return strings.Contains(f.more, "#") && ok // the last Friday: 6L; only in day of week
	}
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.max || strconv.Itoa(n) != step {
			return false
		}
	}
	if span == "*" {
		return true
	}
	from, to, ranged := strings.Cut(span, "-")
	a, ok := f.number(from)
	if !ok || !ranged {
		return ok
	}
	b, ok := f.number(to)
	return ok && a <= b
}

func (f cronField) number(s string) (int, bool) {
	for i, w := range f.words {
		if strings.EqualFold(w, s) {
			return f.min + i, true
		}
	}
	if len(s) == 0 || len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= f.min && n <= f.max
}
