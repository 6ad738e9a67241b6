// Package rights holds what functions may do in AWS, as template.yaml says, against what they were seen to do.
package rights

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Deployment is what CloudFormation would know: parameters by name, the physical names of resources by logical name, and where.
type Deployment struct {
	Parameters, Names      map[string]string
	Account, Region, Stack string
}

// Function is a function as it would be deployed.
type Function struct {
	// Logical is its name in the template, Name the one in its ARN.
	Logical, Name string
	// Role is the ARN of its role.
	Role        string
	Timeout     time.Duration
	Reserved    int
	Environment map[string]string
	Statements  []Statement
}

// Statement is an Allow of a policy (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
type Statement struct {
	// From is the managed policy, or the function whose own it is.
	From               string
	Actions, Resources []string
	Condition          map[string]any
}

// Stack is the template with every function of its language resolved.
type Stack struct {
	d          Deployment
	doc        map[string]any
	parameters map[string]any
	resources  map[string]any
}

// Load resolves a template for a deployment. Missing parameters have their defaults.
func Load(template []byte, d Deployment) (*Stack, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(template, &n); err != nil {
		return nil, err
	}
	doc, ok := plain(&n).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the template is no mapping")
	}
	s := &Stack{d: d, doc: doc, parameters: map[string]any{}}
	s.resources, _ = doc["Resources"].(map[string]any)
	declared, _ := doc["Parameters"].(map[string]any)
	for name, p := range declared {
		m, _ := p.(map[string]any)
		s.parameters[name] = m["Default"]
		if v, ok := d.Parameters[name]; ok {
			s.parameters[name] = v
		}
	}
	for name := range d.Parameters {
		if _, ok := declared[name]; !ok {
			return nil, fmt.Errorf("the template has no parameter %s", name)
		}
	}
	return s, nil
}

// plain turns YAML with CloudFormation's tags into maps, lists and scalars: !Sub x becomes {"Fn::Sub": x}.
func plain(n *yaml.Node) any {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		name := strings.TrimPrefix(n.Tag, "!")
		if name != "Ref" && name != "Condition" {
			name = "Fn::" + name
		}
		bare := *n
		bare.Tag = ""
		return map[string]any{name: plain(&bare)}
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			out = append(out, plain(c))
		}
		return out
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return out
	}
	return n.Value
}

// noValue is AWS::NoValue: what is set to it is not there.
type noValue struct{}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

// resolve evaluates a value. It panics on nothing: what it does not know stays as text that no ARN matches.
func (s *Stack) resolve(v any) any {
	switch v := v.(type) {
	case []any:
		var out []any
		for _, e := range v {
			if r := s.resolve(e); r != (noValue{}) {
				out = append(out, r)
			}
		}
		return out
	case map[string]any:
		if len(v) == 1 {
			for name, arg := range v {
				if r, ok := s.call(name, arg); ok {
					return r
				}
			}
		}
		out := map[string]any{}
		for k, e := range v {
			if r := s.resolve(e); r != (noValue{}) {
				out[k] = r
			}
		}
		return out
	}
	return v
}

func (s *Stack) call(name string, arg any) (any, bool) {
	list, _ := arg.([]any)
	switch name {
	case "Ref":
		return s.ref(text(arg)), true
	case "Fn::GetAtt":
		at := text(arg)
		if list != nil {
			at = text(list[0]) + "." + text(list[1])
		}
		return s.attribute(at), true
	case "Fn::Sub":
		form, own := text(arg), map[string]any{}
		if list != nil {
			form = text(list[0])
			own, _ = list[1].(map[string]any)
		}
		return placeholder.ReplaceAllStringFunc(form, func(p string) string {
			at := placeholder.FindStringSubmatch(p)[1]
			if v, ok := own[at]; ok {
				return text(s.resolve(v))
			}
			if strings.Contains(at, ".") {
				return s.attribute(at)
			}
			return text(s.ref(at))
		}), true
	case "Fn::If":
		if s.condition(text(list[0])) {
			return s.resolve(list[1]), true
		}
		return s.resolve(list[2]), true
	case "Fn::Join":
		var parts []string
		elements, _ := s.resolve(list[1]).([]any)
		for _, e := range elements {
			parts = append(parts, text(e))
		}
		return strings.Join(parts, text(list[0])), true
	case "Fn::FindInMap":
		at := s.doc["Mappings"]
		for _, key := range list {
			m, _ := at.(map[string]any)
			at = m[text(s.resolve(key))]
		}
		return at, true
	case "Fn::Select", "Fn::Split":
		return fmt.Sprintf("(%s is not resolved here)", name), true
	}
	return nil, false
}

func text(v any) string {
	if v == nil || v == (noValue{}) {
		return ""
	}
	return fmt.Sprint(v)
}

// condition evaluates one of the template's Conditions.
func (s *Stack) condition(name string) bool {
	all, _ := s.doc["Conditions"].(map[string]any)
	return s.truth(all[name])
}

func (s *Stack) truth(v any) bool {
	m, _ := v.(map[string]any)
	for name, arg := range m {
		list, _ := arg.([]any)
		switch name {
		case "Condition":
			return s.condition(text(arg))
		case "Fn::Equals":
			return text(s.resolve(list[0])) == text(s.resolve(list[1]))
		case "Fn::Not":
			return !s.truth(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(e any) bool { return !s.truth(e) })
		case "Fn::Or":
			return slices.ContainsFunc(list, s.truth)
		}
	}
	return false
}
