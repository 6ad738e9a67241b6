// Package history reads what Step Functions records of an execution: as the events that a walk in this process emits, as the
// states that a report lists, and as the state at which a run can be taken up again.
package history

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Translator turns the events of an execution's history, in order, into a walk's events. A state's exit is held back until
// the next event, because only that says where the run went; they are written together.
type Translator struct {
	machine *graph.Machine
	emit    func(walk.Event)

	state   string
	kind    graph.Kind
	entered time.Time
	input   json.RawMessage
	attempt int
	section json.RawMessage
	// failure is the last try's error until it is known what was done about it.
	failure *walk.NamedError
	failed  time.Time
	// left is when the state was left; zero while the run is in it.
	left time.Time
	// redriven is when a dead execution was taken up again, until it is known in which state.
	redriven time.Time

	ended bool
	res   walk.Result
}

// NewTranslator returns a translator. Without a machine, events have the state only; emit may be nil.
func NewTranslator(m *graph.Machine, emit func(walk.Event)) *Translator {
	if emit == nil {
		emit = func(walk.Event) {}
	}
	return &Translator{machine: m, emit: emit}
}

// Add takes the next event of the history.
func (t *Translator) Add(e types.HistoryEvent) {
	at := aws.ToTime(e.Timestamp)
	if e.Type == types.HistoryEventTypeExecutionRedriven {
		t.redrive(at)
		return
	}
	if kind, ok := strings.CutSuffix(string(e.Type), "StateEntered"); ok && e.StateEnteredEventDetails != nil {
		t.enter(at, graph.Kind(kind), e.StateEnteredEventDetails)
		return
	}
	if strings.HasSuffix(string(e.Type), "StateExited") && e.StateExitedEventDetails != nil {
		t.again()
		t.left = at
		t.res.Output = raw(e.StateExitedEventDetails.Output)
		return
	}
	t.again()
	switch e.Type {
	case types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeTaskScheduled:
		t.retried()
		t.attempt++
	case types.HistoryEventTypeLambdaFunctionSucceeded, types.HistoryEventTypeTaskSucceeded:
		t.section = output(e)
	case types.HistoryEventTypeExecutionSucceeded, types.HistoryEventTypeExecutionFailed,
		types.HistoryEventTypeExecutionTimedOut, types.HistoryEventTypeExecutionAborted:
		t.end(at, e.Type == types.HistoryEventTypeExecutionSucceeded, ending(e))
	default:
		if f := failure(e); f != nil {
			t.failure, t.failed = f, at
		}
	}
}

func (t *Translator) enter(at time.Time, kind graph.Kind, d *types.StateEnteredEventDetails) {
	name := aws.ToString(d.Name)
	if t.redriven.IsZero() {
		t.leave(at, name)
	}
	t.redriven = time.Time{}
	t.state, t.kind, t.entered, t.left = name, kind, at, time.Time{}
	t.input, t.section, t.failure, t.attempt = raw(d.Input), nil, nil, 0
	t.res.Output = t.input
	t.send(walk.Event{At: at, Kind: walk.Entered})
}

// redrive takes back that the execution ended. Its history goes on in the state that it died in
// (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html), whether that is entered once more or not.
func (t *Translator) redrive(at time.Time) {
	t.redriven, t.ended = at, false
	t.res.Terminal, t.res.Succeeded, t.res.Error, t.res.Cause = "", false, "", ""
}

// again begins the state anew that a redriven execution goes on in without entering it.
func (t *Translator) again() {
	if t.redriven.IsZero() {
		return
	}
	t.entered, t.left, t.redriven = t.redriven, time.Time{}, time.Time{}
	t.section, t.failure, t.attempt = nil, nil, 0
	if t.state != "" {
		t.send(walk.Event{At: t.entered, Kind: walk.Entered})
	}
}

// retried tells of a failed try when another one follows.
func (t *Translator) retried() {
	if t.failure != nil {
		t.send(walk.Event{At: t.failed, Kind: walk.Retried, Attempt: t.attempt, Reason: t.failure.Name, Cause: t.failure.Cause})
		t.failure = nil
	}
}

// leave tells how the present state was left for the next one.
func (t *Translator) leave(at time.Time, next string) {
	if t.state == "" {
		return
	}
	if !t.left.IsZero() {
		at = t.left
	}
	e := walk.Event{At: at, Kind: walk.Exited, Next: next, Reason: t.reason(next), Section: t.section, Duration: at.Sub(t.entered)}
	if t.failure != nil {
		e.Kind, e.Reason, e.Cause, e.Section = walk.Caught, t.failure.Name, t.failure.Cause, nil
	}
	t.visit(e)
	t.send(e)
}

// Ended tells whether the execution's end was added.
func (t *Translator) Ended() bool { return t.ended }

// Result is the execution so far; Output is the run's newest state.
func (t *Translator) Result() walk.Result { return t.res }

// EndAs ends an execution whose history does not say that it is over, as its description says it.
func (t *Translator) EndAs(d *sfn.DescribeExecutionOutput) {
	why := orStatus(named(d.Error, d.Cause), string(d.Status))
	ok := d.Status == types.ExecutionStatusSucceeded
	if ok {
		why = walk.NamedError{}
		t.res.Output = raw(d.Output)
	}
	t.end(aws.ToTime(d.StopDate), ok, why)
}

// end tells how the execution ended.
func (t *Translator) end(at time.Time, ok bool, why walk.NamedError) {
	e := walk.Event{At: at, Kind: walk.Ended, Reason: why.Name, Cause: why.Cause}
	// An execution that was stopped in a Fail state, say, did not end there.
	if t.kind == graph.Succeed && ok || t.kind == graph.Fail && !ok && t.errorOf() == why.Name {
		t.res.Terminal = t.state
	}
	if t.state != "" {
		e.Duration = at.Sub(t.entered)
		v := e
		if t.res.Terminal != "" {
			v.Reason = ""
		}
		t.visit(v)
	}
	t.ended = true
	t.res.Succeeded, t.res.Error, t.res.Cause = ok, why.Name, why.Cause
	t.send(e)
}

func (t *Translator) visit(e walk.Event) {
	t.res.Path = append(t.res.Path, walk.Visit{State: t.state, At: t.entered, Took: e.Duration, Outcome: e.Reason, Next: e.Next})
}

// send adds what the graph knows of the state.
func (t *Translator) send(e walk.Event) {
	e.State, e.Node, e.Type = t.state, t.state, t.kind
	if s, ok := t.known(); ok {
		e.Node, e.Type, e.Function, e.Op = s.Node, s.Kind, s.Function, s.Op
	}
	t.emit(e)
}

// known returns the state as this program's graph has it; a deployed machine of another version may have others.
func (t *Translator) known() (*graph.State, bool) {
	if t.machine == nil {
		return nil, false
	}
	return t.machine.State(t.state)
}

// errorOf is the error of the present Fail state; its name when the graph does not know it, as the graph's own ends have it.
func (t *Translator) errorOf() string {
	if s, ok := t.known(); ok {
		return s.Error
	}
	return t.state
}

// reason says why the state was left, as a walk does: a section's phase, the rule of a choice, the end of a wait.
func (t *Translator) reason(next string) string {
	switch s, ok := t.known(); {
	case len(t.section) > 0:
		var section struct{ Phase string }
		_ = json.Unmarshal(t.section, &section) // a section without a phase has no reason
		return section.Phase
	case ok && s.Kind == graph.Choice:
		return rule(s, next, t.input)
	case ok && s.Kind == graph.Wait:
		if v, err := get(t.input, s.TimestampPath); err == nil {
			if text, isText := v.(string); isText {
				return "waited until " + text
			}
		}
	}
	return ""
}

// rule is the text of the first rule that holds, if it leads to where the run went.
func rule(s *graph.State, next string, input json.RawMessage) string {
	doc, err := get(input, "$")
	if err != nil {
		return ""
	}
	for _, r := range s.Rules {
		if holds, err := r.When.Eval(doc); err != nil {
			return ""
		} else if holds {
			if r.Next != next {
				return "" // the deployed machine has other rules
			}
			return r.When.String()
		}
	}
	if s.Default == next {
		return "otherwise"
	}
	return ""
}

func get(input json.RawMessage, path cond.Path) (any, error) {
	d := json.NewDecoder(bytes.NewReader(input))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if path == "$" {
		return doc, nil
	}
	return cond.Get(doc, path)
}

func raw(s *string) json.RawMessage {
	if s == nil || !json.Valid([]byte(*s)) {
		return nil
	}
	return json.RawMessage(*s)
}

func output(e types.HistoryEvent) json.RawMessage {
	switch {
	case e.LambdaFunctionSucceededEventDetails != nil:
		return raw(e.LambdaFunctionSucceededEventDetails.Output)
	case e.TaskSucceededEventDetails != nil:
		return raw(e.TaskSucceededEventDetails.Output)
	}
	return nil
}

// failure is the error of a try, or nil.
func failure(e types.HistoryEvent) *walk.NamedError {
	switch {
	case e.LambdaFunctionFailedEventDetails != nil:
		return named(e.LambdaFunctionFailedEventDetails.Error, e.LambdaFunctionFailedEventDetails.Cause)
	case e.LambdaFunctionTimedOutEventDetails != nil:
		return named(e.LambdaFunctionTimedOutEventDetails.Error, e.LambdaFunctionTimedOutEventDetails.Cause)
	case e.LambdaFunctionScheduleFailedEventDetails != nil:
		return named(e.LambdaFunctionScheduleFailedEventDetails.Error, e.LambdaFunctionScheduleFailedEventDetails.Cause)
	case e.LambdaFunctionStartFailedEventDetails != nil:
		return named(e.LambdaFunctionStartFailedEventDetails.Error, e.LambdaFunctionStartFailedEventDetails.Cause)
	case e.TaskFailedEventDetails != nil:
		return named(e.TaskFailedEventDetails.Error, e.TaskFailedEventDetails.Cause)
	case e.TaskTimedOutEventDetails != nil:
		return named(e.TaskTimedOutEventDetails.Error, e.TaskTimedOutEventDetails.Cause)
	case e.TaskStartFailedEventDetails != nil:
		return named(e.TaskStartFailedEventDetails.Error, e.TaskStartFailedEventDetails.Cause)
	case e.TaskSubmitFailedEventDetails != nil:
		return named(e.TaskSubmitFailedEventDetails.Error, e.TaskSubmitFailedEventDetails.Cause)
	case e.Type == types.HistoryEventTypeLambdaFunctionTimedOut, e.Type == types.HistoryEventTypeTaskTimedOut:
		return &walk.NamedError{Name: walk.ErrTimeout}
	}
	return nil
}

// ending is the error with which an execution ended.
func ending(e types.HistoryEvent) walk.NamedError {
	var n *walk.NamedError
	switch {
	case e.Type == types.HistoryEventTypeExecutionSucceeded:
		return walk.NamedError{}
	case e.ExecutionFailedEventDetails != nil:
		n = named(e.ExecutionFailedEventDetails.Error, e.ExecutionFailedEventDetails.Cause)
	case e.ExecutionTimedOutEventDetails != nil:
		n = named(e.ExecutionTimedOutEventDetails.Error, e.ExecutionTimedOutEventDetails.Cause)
	case e.ExecutionAbortedEventDetails != nil:
		n = named(e.ExecutionAbortedEventDetails.Error, e.ExecutionAbortedEventDetails.Cause)
	}
	return orStatus(n, strings.TrimPrefix(string(e.Type), "Execution"))
}

// orStatus names an error that has no name after the execution's status: TimedOut is States.Timeout.
func orStatus(n *walk.NamedError, status string) walk.NamedError {
	if n == nil {
		n = &walk.NamedError{}
	}
	if n.Name == "" {
		n.Name = status
		if status == "TimedOut" || status == string(types.ExecutionStatusTimedOut) {
			n.Name = walk.ErrTimeout
		}
	}
	return *n
}

// named takes a Lambda function's error text out of the JSON that the runtime wraps it in.
func named(name, cause *string) *walk.NamedError {
	n := &walk.NamedError{Name: aws.ToString(name), Cause: aws.ToString(cause)}
	var lambda struct {
		ErrorMessage string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(n.Cause), &lambda) == nil && lambda.ErrorMessage != "" {
		n.Cause = lambda.ErrorMessage
	}
	return n
}
