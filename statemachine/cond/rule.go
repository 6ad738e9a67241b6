package cond

import (
	"encoding/json"
	"fmt"
)

// Rule is a condition as a Choice rule of the Amazon States Language, without its Next. Fields are written in this order.
type Rule struct {
	And           []Rule  `json:"And,omitempty"`
	Or            []Rule  `json:"Or,omitempty"`
	Not           *Rule   `json:"Not,omitempty"`
	Variable      string  `json:"Variable,omitempty"`
	StringEquals  *string `json:"StringEquals,omitempty"`
	BooleanEquals *bool   `json:"BooleanEquals,omitempty"`
	IsPresent     *bool   `json:"IsPresent,omitempty"`
}

// Rule renders the condition. The error names what cannot be rendered.
func (c Cond) Rule() (Rule, error) {
	if err := c.Check(); err != nil {
		return Rule{}, err
	}
	return c.rule(), nil
}

func (c Cond) rule() Rule {
	switch c.Op {
	case StringEquals:
		return Rule{Variable: string(c.Path), StringEquals: &c.Text}
	case BooleanEquals:
		return Rule{Variable: string(c.Path), BooleanEquals: &c.Flag}
	case IsPresent:
		return Rule{Variable: string(c.Path), IsPresent: &c.Flag}
	case Not:
		r := c.Of[0].rule()
		return Rule{Not: &r}
	}
	of := make([]Rule, len(c.Of))
	for i, p := range c.Of {
		of[i] = p.rule()
	}
	if c.Op == And {
		return Rule{And: of}
	}
	return Rule{Or: of}
}

// EvalRule evaluates a rendered Choice rule, given as JSON, on a decoded document as the States Language says
// (https://states-language.net/spec.html#choice-state). It shares no code with Eval, so that the two can be compared.
func EvalRule(rule json.RawMessage, doc any) (bool, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(rule, &fields); err != nil {
		return false, fmt.Errorf("choice rule is no JSON object: %w", err)
	}
	if list, ok := fields["And"]; ok {
		return evalList(list, doc, true)
	}
	if list, ok := fields["Or"]; ok {
		return evalList(list, doc, false)
	}
	if part, ok := fields["Not"]; ok {
		v, err := EvalRule(part, doc)
		return err == nil && !v, err
	}
	return evalComparison(fields, doc)
}

func evalList(list json.RawMessage, doc any, all bool) (bool, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(list, &parts); err != nil {
		return false, fmt.Errorf("And/Or is no list: %w", err)
	}
	if len(parts) == 0 {
		return false, fmt.Errorf("And/Or is empty")
	}
	for _, p := range parts {
		v, err := EvalRule(p, doc)
		if err != nil {
			return false, err
		}
		if v != all {
			return v, nil
		}
	}
	return all, nil
}

func evalComparison(fields map[string]json.RawMessage, doc any) (bool, error) {
	var text string
	if err := json.Unmarshal(fields["Variable"], &text); err != nil {
		return false, fmt.Errorf("comparison without a Variable: %w", err)
	}
	path, err := ParsePath(text)
	if err != nil {
		return false, err
	}
	found, missing := doc, false
	for _, name := range path.Names() {
		object, isObject := found.(map[string]any)
		member, there := object[name]
		if found = member; !isObject || !there {
			missing = true
			break
		}
	}
	if raw, ok := fields["IsPresent"]; ok {
		var want bool
		if err := json.Unmarshal(raw, &want); err != nil {
			return false, fmt.Errorf("IsPresent is no boolean: %w", err)
		}
		return want != missing, nil
	}
	if missing {
		return false, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	for _, op := range []string{"StringEquals", "BooleanEquals"} {
		raw, ok := fields[op]
		if !ok {
			continue
		}
		var want any
		if err := json.Unmarshal(raw, &want); err != nil {
			return false, fmt.Errorf("%s: %w", op, err)
		}
		switch want.(type) {
		case string:
			if op != "StringEquals" {
				return false, fmt.Errorf("%s compares with a string", op)
			}
		case bool:
			if op != "BooleanEquals" {
				return false, fmt.Errorf("%s compares with a boolean", op)
			}
		default:
			return false, fmt.Errorf("%s compares with %T", op, want)
		}
		switch f := found.(type) {
		case string, bool:
			return f == want, nil
		}
		return false, nil
	}
	return false, fmt.Errorf("comparison of %s has no operator this program knows", path)
}
