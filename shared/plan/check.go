package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fallbackchain.io/fallback/shared/plan/limits"
)

// Validate checks a plan that was not read from text. Parse does the same and knows the lines.
func (p *Plan) Validate() Problems {
	c := &checker{plan: p, bad: map[string]bool{}}
	c.check()
	return c.problems.sorted()
}

// checker holds a plan against its rules. Nothing is said twice about a field, nor about the inside of a field that is
// wrong itself.
type checker struct {
	plan *Plan
	// marks is nil when the plan was not read from text.
	marks    map[string]mark
	bad      map[string]bool
	problems Problems
}

func (c *checker) check() {
	c.required(reflect.ValueOf(c.plan).Elem(), "")
	c.durations(reflect.ValueOf(c.plan).Elem(), "")
	if c.plan.APIVersion != APIVersion {
		c.add("apiVersion", c.plan.APIVersion, "is not a version this program reads", APIVersion)
	}
	if c.plan.Kind != Kind {
		c.add("kind", c.plan.Kind, "is not a plan", Kind)
	}
	s := &c.plan.Spec
	c.name(c.plan.Metadata.Name, "metadata.name")
	c.workload(&s.Workload, "spec.workload")
	c.cluster(&s.Cluster, "spec.cluster")
	c.inventory(s.Inventory, "spec.inventory")
	c.volumes(&s.Volumes, "spec.volumes")
	c.relax(&s.Tiers.DegradedStatefulSet.Relax, "spec.tiers.degradedStatefulSet.relax")
	c.quarantine(&s.Quarantine, "spec.quarantine")
	c.rollback(&s.Rollback, "spec.rollback")
	c.pause(s.Pause, "spec.pause")
	c.schedule(&s.Schedule, "spec.schedule")
	c.notify(&s.Notify, "spec.notify")
	c.order()
}

// parents yields a path and what contains it, ending with "".
func parents(path string) []string {
	out := []string{path}
	for path != "" {
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
		out = append(out, path)
	}
	return out
}

// known tells whether something was already said about the path or what contains it.
func (c *checker) known(path string) bool {
	return slices.ContainsFunc(parents(path), func(p string) bool { return c.bad[p] })
}

// given tells whether the field stands in the text; without a text only its value can tell.
func (c *checker) given(path string) bool {
	_, ok := c.marks[path]
	return ok
}

func (c *checker) add(path, value, message, expected string) {
	if c.known(path) {
		return
	}
	c.bad[path] = true
	p := Problem{Path: path, Value: shorten(value), Message: message, Expected: expected}
	for _, at := range parents(path) {
		if m, ok := c.marks[at]; ok {
			p.Line, p.Column = m.line, m.column
			break
		}
	}
	c.problems = append(c.problems, p)
}

// required reports every field that must stand in a plan (its yaml tag has no omitempty) and does not, and every text and
// list that stands there empty.
func (c *checker) required(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.required(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.required(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Struct:
		for f, field := range v.Fields() {
			at := join(path, yamlName(f))
			must := !optional(f)
			switch {
			case must && field.IsZero() && !c.given(at):
				c.add(at, "", "is missing", wanted(field.Type()))
			case isEmpty(field) && (must || c.given(at)):
				want := wanted(field.Type())
				if !must {
					want += ", or the field left out"
				}
				c.add(at, "", "is empty", want)
			case !must && field.IsZero() && field.Kind() == reflect.Struct && !c.given(at):
			default:
				c.required(field, at)
			}
		}
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice:
		return v.Len() == 0
	}
	return false
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "a mapping of " + list(names(t))
	case reflect.Slice:
		return "a list with at least one entry"
	case reflect.Int:
		return "a whole number"
	default:
		return "text"
	}
}

// durations holds every duration against its limits.
func (c *checker) durations(v reflect.Value, path string) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		for f, field := range v.Fields() {
			c.durations(field, join(path, yamlName(f)))
		}
		return
	}
	if v.Type() != reflect.TypeFor[Duration]() {
		return
	}
	d := Duration(v.Int())
	if d == 0 && !c.given(path) {
		return
	}
	l, ok := limits.Get(path)
	if !ok || l.Fixed() {
		return
	}
	want := fmt.Sprintf("%s to %s", Duration(l.Min), Duration(l.Cap))
	if l.Min == 0 {
		want = "at most " + Duration(l.Cap).String()
	}
	if l.Default != 0 {
		want += fmt.Sprintf(" (default %s)", Duration(l.Default))
	}
	switch {
	case d == 0 && l.Default != 0:
		// An unset duration takes the default, so that zero cannot be said; a plan that tries must not get the default unseen.
		c.add(path, "0s", "cannot be zero", "a small duration such as 1s; "+want)
	case d.D() < l.Min:
		c.add(path, d.String(), "is too short", want)
	case d.D() > l.Cap:
		c.add(path, d.String(), "is too long", want)
	}
}

// order holds durations against each other, defaults filled in.
func (c *checker) order() {
	s := c.plan.WithDefaults().Spec
	for _, r := range []struct {
		short, long         Duration
		shortPath, longPath string
	}{
		{s.Tiers.VolumeAttachmentSync.StuckAfter, s.Tiers.VolumeAttachmentSync.Budget,
			"spec.tiers.volumeAttachmentSync.stuckAfter", "spec.tiers.volumeAttachmentSync.budget"},
		{s.Gate.Stability, s.Gate.Budget, "spec.gate.stability", "spec.gate.budget"},
		{s.Workload.Database.StatementTimeout, s.Gate.Budget, "spec.workload.database.statementTimeout", "spec.gate.budget"},
	} {
		if r.short < r.long || c.known(r.longPath) {
			continue
		}
		if !c.given(r.shortPath) && c.given(r.longPath) {
			c.add(r.longPath, r.long.String(), "is not longer than "+r.shortPath, "more than "+r.short.String())
			continue
		}
		c.add(r.shortPath, r.short.String(), "is not shorter than "+r.longPath, "less than "+r.long.String())
	}
}
