package rights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reference stands for a managed policy of the template.
type reference string

func (s *Stack) ref(name string) any {
	switch name {
	case "AWS::Partition":
		return "aws"
	case "AWS::Region":
		return s.d.Region
	case "AWS::AccountId":
		return s.d.Account
	case "AWS::StackName":
		return s.d.Stack
	case "AWS::URLSuffix":
		return "amazonaws.com"
	case "AWS::NoValue":
		return noValue{}
	}
	if v, ok := s.parameters[name]; ok {
		return v
	}
	if base, kind, ok := strings.Cut(name, "."); ok { // the serverless transform's
		switch kind {
		case "Version":
			return s.arn(base) + ":1"
		case "Alias":
			return s.arn(base) + ":live"
		}
	}
	switch s.kind(name) {
	case "AWS::IAM::ManagedPolicy":
		return reference(name)
	case "AWS::Serverless::StateMachine", "AWS::SNS::Topic", "AWS::KMS::Key":
		return s.arn(name)
	}
	return s.name(name)
}

func (s *Stack) attribute(at string) string {
	name, attribute, _ := strings.Cut(at, ".")
	if attribute == "Arn" || attribute == "TopicArn" {
		return s.arn(name)
	}
	return "(" + at + ")"
}

func (s *Stack) kind(name string) string {
	r, _ := s.resources[name].(map[string]any)
	return text(r["Type"])
}

// name is a resource's physical name.
func (s *Stack) name(logical string) string {
	if n, ok := s.d.Names[logical]; ok {
		return n
	}
	return s.d.Stack + "-" + logical
}

func (s *Stack) arn(logical string) string {
	n := s.name(logical)
	at := s.d.Region + ":" + s.d.Account + ":"
	switch s.kind(logical) {
	case "AWS::S3::Bucket":
		return "arn:aws:s3:::" + n
	case "AWS::Serverless::Function":
		return "arn:aws:lambda:" + at + "function:" + n
	case "AWS::Serverless::StateMachine":
		return "arn:aws:states:" + at + "stateMachine:" + s.d.Stack
	case "AWS::SQS::Queue":
		return "arn:aws:sqs:" + at + n
	case "AWS::SNS::Topic":
		return "arn:aws:sns:" + at + n
	case "AWS::IAM::Role":
		return "arn:aws:iam::" + s.d.Account + ":role/" + n
	case "AWS::Logs::LogGroup":
		return "arn:aws:logs:" + at + "log-group:" + text(s.properties(logical)["LogGroupName"]) + ":*"
	}
	return fmt.Sprintf("(the ARN of %s, a %s)", logical, s.kind(logical))
}

// Substitutions are those of the state machine's definition.
func (s *Stack) Substitutions() map[string]string {
	out := map[string]string{}
	for _, r := range s.resources {
		r, _ := r.(map[string]any)
		if text(r["Type"]) != "AWS::Serverless::StateMachine" {
			continue
		}
		p, _ := s.resolve(r["Properties"]).(map[string]any)
		m, _ := p["DefinitionSubstitutions"].(map[string]any)
		for k, v := range m {
			out[k] = text(v)
		}
	}
	return out
}

// Functions are those that would be deployed, sorted by their names.
func (s *Stack) Functions() ([]Function, error) {
	globals, _ := s.doc["Globals"].(map[string]any)
	common, _ := s.resolve(globals["Function"]).(map[string]any)
	var out []Function
	for logical, r := range s.resources {
		r, _ := r.(map[string]any)
		if text(r["Type"]) != "AWS::Serverless::Function" || (r["Condition"] != nil && !s.condition(text(r["Condition"]))) {
			continue
		}
		p, _ := s.resolve(r["Properties"]).(map[string]any)
		f := Function{Logical: logical, Name: s.name(logical), Environment: map[string]string{}}
		for _, from := range []map[string]any{common, p} {
			if t, ok := from["Timeout"]; ok {
				seconds, err := strconv.Atoi(text(t))
				if err != nil {
					return nil, fmt.Errorf("%s: Timeout %q: %w", logical, text(t), err)
				}
				f.Timeout = time.Duration(seconds) * time.Second
			}
			e, _ := from["Environment"].(map[string]any)
			variables, _ := e["Variables"].(map[string]any)
			for k, v := range variables {
				f.Environment[k] = text(v)
			}
		}
		f.Reserved, _ = strconv.Atoi(text(p["ReservedConcurrentExecutions"]))
		if err := s.statements(&f, p); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Function) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Properties are a resource's, as they would be deployed; numbers are texts. Nil: there is no such resource.
func (s *Stack) Properties(logical string) map[string]any { return s.properties(logical) }

func (s *Stack) properties(logical string) map[string]any {
	r, _ := s.resources[logical].(map[string]any)
	p, _ := s.resolve(r["Properties"]).(map[string]any)
	return p
}

// statements reads a function's policies: its own, and those of the role that it names.
func (s *Stack) statements(f *Function, properties map[string]any) error {
	policies, _ := properties["Policies"].([]any)
	f.Role = text(properties["Role"])
	if f.Role == "" {
		f.Role = "arn:aws:iam::" + s.d.Account + ":role/" + f.Name + "Role" // the serverless transform's
	}
	for logical := range s.resources {
		if s.kind(logical) != "AWS::IAM::Role" || s.arn(logical) != f.Role {
			continue
		}
		p := s.properties(logical)
		managed, _ := p["ManagedPolicyArns"].([]any)
		own, _ := p["Policies"].([]any)
		policies = append(policies, managed...)
		for _, e := range own {
			m, _ := e.(map[string]any)
			policies = append(policies, m["PolicyDocument"])
		}
	}
	for _, p := range policies {
		from, document := f.Logical, p
		if ref, ok := p.(reference); ok {
			from = string(ref)
			document = s.properties(from)["PolicyDocument"]
		}
		m, ok := document.(map[string]any)
		if !ok {
			return fmt.Errorf("%s has the policy %v: expected one of the template's own, so that it can be read", f.Logical, p)
		}
		list, _ := m["Statement"].([]any)
		for _, e := range list {
			st, ok := e.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: a statement is %v", from, e)
			}
			c, _ := st["Condition"].(map[string]any)
			if text(st["Effect"]) != "Allow" || st["NotAction"] != nil || st["NotResource"] != nil {
				return fmt.Errorf("%s: a statement is not an Allow of Actions on Resources", from)
			}
			f.Statements = append(f.Statements, Statement{From: from, Actions: texts(st["Action"]), Resources: texts(st["Resource"]), Condition: c})
		}
	}
	return nil
}

func texts(v any) []string {
	if list, ok := v.([]any); ok {
		var out []string
		for _, e := range list {
			out = append(out, texts(e)...)
		}
		return out
	}
	if v == nil {
		return nil
	}
	return []string{text(v)}
}
