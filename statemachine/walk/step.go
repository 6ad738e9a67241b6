package walk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// step executes one state and tells how it was left, and the document that the next state gets.
func (w *walker) step(ctx context.Context, s *graph.State, doc any) (left, any, error) {
	switch s.Kind {
	case graph.Task:
		return w.task(ctx, s, doc)
	case graph.Choice:
		return w.choice(s, doc), doc, nil
	case graph.Pass:
		return w.pass(s, doc)
	case graph.Wait:
		return w.wait(ctx, s, doc)
	}
	return left{}, doc, nil
}

func (w *walker) choice(s *graph.State, doc any) left {
	for _, r := range s.Rules {
		ok, err := r.When.Eval(doc)
		if err != nil {
			return left{reason: ErrRuntime, failed: runtimeError(s, err)}
		}
		if ok {
			return left{kind: Exited, next: r.Next, reason: r.When.String()}
		}
	}
	if s.Default == "" {
		return left{reason: ErrNoChoice, failed: &NamedError{Name: ErrNoChoice, Cause: s.Name + ": no rule holds, and there is no default"}}
	}
	return left{kind: Exited, next: s.Default, reason: "otherwise"}
}

func (w *walker) pass(s *graph.State, doc any) (left, any, error) {
	var value any
	if s.Result != nil {
		m := make(map[string]any, len(s.Result))
		for k, v := range s.Result {
			m[k] = v
		}
		value = m
	} else {
		path := s.InputPath
		if path == "" {
			path = "$"
		}
		found, err := cond.Get(doc, path)
		if err != nil {
			return left{reason: ErrRuntime, failed: runtimeError(s, err)}, doc, nil
		}
		if value, err = clone(found); err != nil {
			return left{}, doc, err
		}
	}
	out := doc
	if s.ResultPath != "" {
		var err error
		if out, err = cond.Set(doc, s.ResultPath, value); err != nil {
			return left{reason: ErrRuntime, failed: runtimeError(s, err)}, doc, nil
		}
	}
	return left{kind: Exited, next: s.Next}, out, nil
}

func (w *walker) wait(ctx context.Context, s *graph.State, doc any) (left, any, error) {
	found, err := cond.Get(doc, s.TimestampPath)
	if err != nil {
		return left{reason: ErrRuntime, failed: runtimeError(s, err)}, doc, nil
	}
	until, ok := timestamp(found)
	if !ok {
		return left{reason: ErrRuntime, failed: runtimeError(s, fmt.Errorf("%s is no RFC 3339 time: %v", s.TimestampPath, found))}, doc, nil
	}
	if d := until.Sub(w.Now()); d > 0 {
		if err := w.Sleep(ctx, d); err != nil {
			return left{}, doc, fmt.Errorf("walk: stopped in %s: %w", s.Name, err)
		}
	}
	return left{kind: Exited, next: s.Next, reason: "waited until " + until.Format(time.RFC3339)}, doc, nil
}

// timestamp reads an RFC 3339 time.
func timestamp(v any) (time.Time, bool) {
	text, _ := v.(string)
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

// tooLarge is the error of a payload over the limit. States.ALL does not catch it.
func (w *walker) tooLarge(doc any) *NamedError {
	raw, err := encode(doc)
	if err != nil {
		return &NamedError{Name: ErrRuntime, Cause: err.Error()}
	}
	if len(raw) > run.PayloadLimit {
		return &NamedError{Name: ErrDataLimit, Cause: fmt.Sprintf("the run's state has %d bytes, more than %d", len(raw), run.PayloadLimit)}
	}
	return nil
}

func runtimeError(s *graph.State, err error) *NamedError {
	cause := fmt.Sprintf("%s: %v", s.Name, err)
	if errors.Is(err, cond.ErrMissing) {
		cause = fmt.Sprintf("%s reads a path that is not there: %v", s.Name, err)
	}
	return &NamedError{Name: ErrRuntime, Cause: cause}
}
