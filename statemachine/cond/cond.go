// Package cond holds the graph's one condition type. A condition is evaluated in Go on decoded JSON and rendered as a
// Choice rule of the Amazon States Language (JSONPath), and both must agree on the whole domain of its variables.
// Standard library only.
package cond

import (
	"fmt"
	"slices"
	"strings"
)

// Op is a condition's operator.
type Op int

// The operators. Const exists only in residuals of Partial and is never rendered.
const (
	Const Op = iota
	StringEquals
	BooleanEquals
	IsPresent
	And
	Or
	Not
)

// Cond is a condition: a comparison of a variable or a combination of conditions. The zero value is the constant false.
type Cond struct {
	Op Op
	// Path is the variable of a comparison.
	Path Path
	// Text is what StringEquals compares with; Flag is what BooleanEquals, IsPresent and Const compare with.
	Text string
	Flag bool
	// Of are the parts of And, Or (one or more) and Not (one).
	Of []Cond
}

// Equals holds when the variable is the given text.
func Equals(path Path, text string) Cond { return Cond{Op: StringEquals, Path: path, Text: text} }

// Is holds when the variable is the given boolean.
func Is(path Path, flag bool) Cond { return Cond{Op: BooleanEquals, Path: path, Flag: flag} }

// Present holds when the path leads to something, even to null.
func Present(path Path) Cond { return Cond{Op: IsPresent, Path: path, Flag: true} }

// All holds when every part holds; parts after the first that does not are not evaluated.
func All(of ...Cond) Cond { return Cond{Op: And, Of: of} }

// Any holds when one part holds; parts after the first that does are not evaluated.
func Any(of ...Cond) Cond { return Cond{Op: Or, Of: of} }

// Negate holds when the part does not.
func Negate(c Cond) Cond { return Cond{Op: Not, Of: []Cond{c}} }

// OneOf holds when the variable is one of the given texts.
func OneOf(path Path, texts ...string) Cond {
	if len(texts) == 1 {
		return Equals(path, texts[0])
	}
	of := make([]Cond, len(texts))
	for i, t := range texts {
		of[i] = Equals(path, t)
	}
	return Any(of...)
}

// Eval evaluates the condition on a decoded JSON document. A comparison on a path that leads to nothing is an error that
// wraps ErrMissing, as in Step Functions (States.Runtime); a value of another type does not equal.
func (c Cond) Eval(doc any) (bool, error) {
	switch c.Op {
	case Const:
		return c.Flag, nil
	case IsPresent:
		_, err := Get(doc, c.Path)
		return (err == nil) == c.Flag, nil
	case StringEquals, BooleanEquals:
		v, err := Get(doc, c.Path)
		if err != nil {
			return false, err
		}
		if c.Op == StringEquals {
			s, ok := v.(string)
			return ok && s == c.Text, nil
		}
		b, ok := v.(bool)
		return ok && b == c.Flag, nil
	case Not:
		ok, err := c.Of[0].Eval(doc)
		return !ok && err == nil, err
	case And, Or:
		for _, p := range c.Of {
			ok, err := p.Eval(doc)
			if err != nil {
				return false, err
			}
			if ok == (c.Op == Or) {
				return ok, nil
			}
		}
		return c.Op == And, nil
	}
	return false, fmt.Errorf("unknown operator %d", c.Op)
}

// Check reports the first mistake in the condition's shape.
func (c Cond) Check() error {
	switch c.Op {
	case StringEquals, BooleanEquals, IsPresent:
		_, err := ParsePath(string(c.Path))
		return err
	case And, Or, Not:
		if len(c.Of) == 0 || (c.Op == Not && len(c.Of) != 1) {
			return fmt.Errorf("%s has %d parts", c.Op, len(c.Of))
		}
		for _, p := range c.Of {
			if err := p.Check(); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("a condition with operator %d cannot be rendered", c.Op)
}

// Paths lists the condition's variables, sorted, each once.
func (c Cond) Paths() []Path {
	var out []Path
	c.visit(func(p Cond) {
		if p.Path != "" {
			out = append(out, p.Path)
		}
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func (c Cond) visit(f func(Cond)) {
	f(c)
	for _, p := range c.Of {
		p.visit(f)
	}
}

func (o Op) String() string {
	return [...]string{"Const", "StringEquals", "BooleanEquals", "IsPresent", "And", "Or", "Not"}[o]
}

// String is the condition as people read it: "mode is drill and quarantine present".
func (c Cond) String() string { return c.text(false) }

func (c Cond) text(inner bool) string {
	name := strings.TrimPrefix(string(c.Path), "$.")
	switch c.Op {
	case Const:
		return fmt.Sprint(c.Flag)
	case StringEquals:
		return name + " is " + c.Text
	case BooleanEquals:
		return fmt.Sprintf("%s is %t", name, c.Flag)
	case IsPresent:
		if c.Flag {
			return name + " present"
		}
		return name + " absent"
	case Not:
		return "not (" + c.Of[0].text(false) + ")"
	}
	word := " and "
	if c.Op == Or {
		word = " or "
	}
	parts := make([]string, len(c.Of))
	for i, p := range c.Of {
		parts[i] = p.text(true)
	}
	s := strings.Join(parts, word)
	if inner && len(c.Of) > 1 {
		return "(" + s + ")"
	}
	return s
}
