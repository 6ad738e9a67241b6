// Package asl renders a graph as a definition of the Amazon States Language: JSONPath, no intrinsic functions, the states in
// the graph's order and the fields of each in a fixed one, so that the same graph is always the same bytes.
package asl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// definition is the top of the States Language (https://states-language.net/spec.html#toplevelfields).
type definition struct {
	Comment        string `json:"Comment,omitempty"`
	QueryLanguage  string `json:"QueryLanguage"`
	StartAt        string `json:"StartAt"`
	TimeoutSeconds int64  `json:"TimeoutSeconds,omitempty"`
	States         states `json:"States"`
}

// states keeps the graph's order, which a map would lose.
type states []named

type named struct {
	name  string
	state state
}

// MarshalJSON writes an object with the states in their order.
func (s states) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, n := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(n.name)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(n.state)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(body)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type state struct {
	Type           string            `json:"Type"`
	Comment        string            `json:"Comment,omitempty"`
	Resource       string            `json:"Resource,omitempty"`
	Parameters     *parameters       `json:"Parameters,omitempty"`
	InputPath      string            `json:"InputPath,omitempty"`
	Result         map[string]string `json:"Result,omitempty"`
	ResultPath     string            `json:"ResultPath,omitempty"`
	TimeoutSeconds int64             `json:"TimeoutSeconds,omitempty"`
	Retry          []retry           `json:"Retry,omitempty"`
	Catch          []catch           `json:"Catch,omitempty"`
	Choices        []choice          `json:"Choices,omitempty"`
	Default        string            `json:"Default,omitempty"`
	TimestampPath  string            `json:"TimestampPath,omitempty"`
	Error          string            `json:"Error,omitempty"`
	Cause          string            `json:"Cause,omitempty"`
	Next           string            `json:"Next,omitempty"`
}

// parameters are a task's input: run.Request.
type parameters struct {
	Op    string `json:"op"`
	State string `json:"state.$"`
	// Retries comes from the context object, which counts them from 0, and so does Execution, the execution's name
	// (https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html).
	Retries   string `json:"retries.$"`
	Execution string `json:"execution.$"`
	Run       string `json:"run.$"`
}

type retry struct {
	ErrorEquals     []string `json:"ErrorEquals"`
	IntervalSeconds int64    `json:"IntervalSeconds"`
	MaxAttempts     int      `json:"MaxAttempts"`
	BackoffRate     float64  `json:"BackoffRate"`
	MaxDelaySeconds int64    `json:"MaxDelaySeconds,omitempty"`
	JitterStrategy  string   `json:"JitterStrategy"`
}

type catch struct {
	ErrorEquals []string `json:"ErrorEquals"`
	ResultPath  string   `json:"ResultPath,omitempty"`
	Next        string   `json:"Next"`
}

type choice struct {
	cond.Rule
	Next string `json:"Next"`
}

// Resource is what stands for a function's ARN, to be replaced by SAM's DefinitionSubstitutions: "${AdmitFunctionArn}".
func Resource(function string) string { return "${" + LogicalName(function) + "Arn}" }

// LogicalName is the name of a function in template.yaml: "AdmitFunction".
func LogicalName(function string) string {
	if function == "" {
		return ""
	}
	return strings.ToUpper(function[:1]) + function[1:] + "Function"
}

// Render returns the definition as indented JSON that ends in a newline.
func Render(g *graph.Graph) ([]byte, error) {
	m, err := g.Expand()
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", g.Name, err)
	}
	d := definition{Comment: g.Comment, QueryLanguage: "JSONPath", StartAt: g.Start, TimeoutSeconds: seconds(g.Timing.Machine)}
	for i := range m.States {
		s, err := render(&m.States[i])
		if err != nil {
			return nil, fmt.Errorf("state %s: %w", m.States[i].Name, err)
		}
		d.States = append(d.States, named{m.States[i].Name, s})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("graph %s: %w", g.Name, err)
	}
	return b.Bytes(), nil
}

func render(s *graph.State) (state, error) {
	out := state{Type: string(s.Kind), InputPath: string(s.InputPath), Result: s.Result, ResultPath: string(s.ResultPath),
		TimeoutSeconds: seconds(s.Timeout), Default: s.Default, TimestampPath: string(s.TimestampPath), Error: s.Error, Cause: s.Cause, Next: s.Next}
	if s.Kind == graph.Task {
		out.Resource = Resource(s.Function)
		out.Parameters = &parameters{Op: s.Op, State: "$$.State.Name", Retries: "$$.State.RetryCount", Execution: "$$.Execution.Name", Run: "$"}
		if s.Budget != "" {
			out.Comment = "waits at most " + s.Budget
		}
	}
	for _, r := range s.Retry {
		out.Retry = append(out.Retry, retry{ErrorEquals: r.Errors, IntervalSeconds: seconds(r.Interval), MaxAttempts: r.MaxAttempts,
			BackoffRate: r.Backoff, MaxDelaySeconds: seconds(r.MaxDelay), JitterStrategy: "FULL"})
	}
	for _, c := range s.Catch {
		out.Catch = append(out.Catch, catch{ErrorEquals: c.Errors, ResultPath: string(c.ResultPath), Next: c.Next})
	}
	for _, r := range s.Rules {
		rule, err := r.When.Rule()
		if err != nil {
			return state{}, err
		}
		out.Choices = append(out.Choices, choice{rule, r.Next})
	}
	return out, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
