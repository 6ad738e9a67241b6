package walk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// decode reads JSON and keeps numbers as they are written.
func decode(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

// encode writes JSON with sorted keys.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("walk: the run's state cannot be encoded: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func clone(v any) (any, error) {
	raw, err := encode(v)
	if err != nil {
		return nil, err
	}
	return decode(raw)
}

// Adapt makes a handler of a step: it decodes run.Request and encodes the section.
func Adapt[S any](f func(ctx context.Context, op, state string, r run.Run) (S, error)) Handler {
	return func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
		var req run.Request
		if err := json.Unmarshal(in, &req); err != nil {
			return nil, fault.New(fault.InputInvalid, "read the step's input", err)
		}
		section, err := f(ctx, req.Op, req.State, req.Run)
		if err != nil {
			return nil, err
		}
		out, err := json.Marshal(section)
		if err != nil {
			return nil, fault.New(fault.Internal, "encode the step's section", err)
		}
		return out, nil
	}
}
