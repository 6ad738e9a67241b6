package cond

import "fmt"

// Value is one value of a variable's finite domain: Missing, a text, a boolean, or Something (an object whose content no
// condition reads, for IsPresent).
type Value struct {
	kind byte
	text string
	flag bool
}

// Missing is the value of a path that leads to nothing.
func Missing() Value { return Value{} }

// Something is the value of a path that leads to an object.
func Something() Value { return Value{kind: 'o'} }

// Text is a string value.
func Text(s string) Value { return Value{kind: 's', text: s} }

// Flag is a boolean value.
func Flag(b bool) Value { return Value{kind: 'b', flag: b} }

// Texts is a domain of string values.
func Texts[S ~string](values ...S) []Value {
	out := make([]Value, len(values))
	for i, v := range values {
		out[i] = Text(string(v))
	}
	return out
}

// Flags is the domain of a boolean.
func Flags() []Value { return []Value{Flag(false), Flag(true)} }

// IsMissing tells whether the value is Missing.
func (v Value) IsMissing() bool { return v.kind == 0 }

// JSON is the value as decoded JSON; Missing has none.
func (v Value) JSON() (decoded any, ok bool) {
	switch v.kind {
	case 's':
		return v.text, true
	case 'b':
		return v.flag, true
	case 'o':
		return map[string]any{}, true
	}
	return nil, false
}

// Of returns the domain value of decoded JSON.
func Of(decoded any) Value {
	switch d := decoded.(type) {
	case string:
		return Text(d)
	case bool:
		return Flag(d)
	}
	return Something()
}

func (v Value) String() string {
	switch v.kind {
	case 's':
		return v.text
	case 'b':
		return fmt.Sprint(v.flag)
	case 'o':
		return "present"
	}
	return "missing"
}

// Lookup tells a variable's value.
type Lookup func(Path) Value

// EvalAt evaluates the condition with the variables' values given by at; otherwise it is Eval.
func (c Cond) EvalAt(at Lookup) (bool, error) {
	switch c.Op {
	case IsPresent:
		return !at(c.Path).IsMissing() == c.Flag, nil
	case StringEquals, BooleanEquals:
		v := at(c.Path)
		if v.IsMissing() {
			return false, fmt.Errorf("%s: %w", c.Path, ErrMissing)
		}
		if c.Op == StringEquals {
			return v == Text(c.Text), nil
		}
		return v == Flag(c.Flag), nil
	case Not:
		ok, err := c.Of[0].EvalAt(at)
		return !ok && err == nil, err
	case And, Or:
		for _, p := range c.Of {
			ok, err := p.EvalAt(at)
			if err != nil {
				return false, err
			}
			if ok == (c.Op == Or) {
				return ok, nil
			}
		}
		return c.Op == And, nil
	}
	return c.Flag, nil
}

// Partial evaluates what it can: variables that known answers for are replaced, and the rest stays as a condition. Two
// assignments with the same residuals cannot be told apart by the condition, whatever the other variables are.
func (c Cond) Partial(known func(Path) (Value, bool)) Cond {
	switch c.Op {
	case StringEquals, BooleanEquals, IsPresent:
		v, ok := known(c.Path)
		if !ok || (v.IsMissing() && c.Op != IsPresent) {
			return c
		}
		holds, _ := c.EvalAt(func(Path) Value { return v })
		return Cond{Op: Const, Flag: holds}
	case Not:
		p := c.Of[0].Partial(known)
		if p.Op == Const {
			return Cond{Op: Const, Flag: !p.Flag}
		}
		return Negate(p)
	case And, Or:
		var rest []Cond
		for _, part := range c.Of {
			p := part.Partial(known)
			if p.Op != Const {
				rest = append(rest, p)
				continue
			}
			if p.Flag == (c.Op == Or) {
				if len(rest) == 0 {
					return p
				}
				// A part before this one may still meet a missing path, so it stays.
				return Cond{Op: c.Op, Of: append(rest, p)}
			}
		}
		if len(rest) == 0 {
			return Cond{Op: Const, Flag: c.Op == And}
		}
		return Cond{Op: c.Op, Of: rest}
	}
	return c
}

// Assignments calls f with every assignment of the variables' domains, in a fixed order, until f returns false.
func Assignments(paths []Path, domain func(Path) []Value, f func(map[Path]Value) bool) {
	at := make(map[Path]Value, len(paths))
	var rec func(int) bool
	rec = func(i int) bool {
		if i == len(paths) {
			return f(at)
		}
		for _, v := range domain(paths[i]) {
			at[paths[i]] = v
			if !rec(i + 1) {
				return false
			}
		}
		return true
	}
	rec(0)
}
