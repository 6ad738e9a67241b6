package lambdaboot

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// NewLogger writes what Lambda's JSON log format asks for (timestamp, level, message, requestId) to stdout when the function is set to
// that format, and text otherwise:
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html.
func NewLogger() *slog.Logger { return lambdacontext.NewLogger() }

// invoked is what of a payload tells which part of which run an invocation is. A payload that is no step's has none of it.
type invoked struct {
	Op    string `json:"op"`
	State string `json:"state"`
	// Retries is nil when the state machine does not pass it.
	Retries *int `json:"retries"`
	Run     struct {
		ID   string   `json:"id"`
		Mode run.Mode `json:"mode"`
		Plan struct {
			Name string `json:"name"`
		} `json:"plan"`
		VolumeSync   *struct{} `json:"volumesync"`
		ControlPlane *struct{} `json:"controlplane"`
		Degraded     *struct{} `json:"degraded"`
	} `json:"run"`
}

// tier is that of the state, or the one that the run has come to.
func (i invoked) tier() string {
	for _, t := range []struct {
		name  string
		begun bool
	}{{"DegradedStatefulSet", i.Run.Degraded != nil}, {"ControlPlaneReconcile", i.Run.ControlPlane != nil}, {"VolumeAttachmentSync", i.Run.VolumeSync != nil}} {
		if t.begun || strings.TrimPrefix(i.State, "Await") == t.name {
			return t.name
		}
	}
	return ""
}

// attrs are the attributes that are known.
func (i invoked) attrs() []slog.Attr {
	var out []slog.Attr
	for _, a := range []slog.Attr{slog.String("run", i.Run.ID), slog.String("plan", i.Run.Plan.Name), slog.String("mode", string(i.Run.Mode)),
		slog.String("state", i.State), slog.String("op", i.Op), slog.String("tier", i.tier())} {
		if a.Value.String() != "" {
			out = append(out, a)
		}
	}
	if i.Retries != nil {
		out = append(out, slog.Int("attempt", *i.Retries+1))
	}
	return out
}

// logCall writes one line for an invocation: which part of which run it was, and how it ended.
func logCall(ctx context.Context, log *slog.Logger, payload []byte, a answer, took time.Duration) {
	var i invoked
	_ = json.Unmarshal(payload, &i) // an event of another kind, or what the handler has refused
	attrs := append(i.attrs(), slog.Int64("durationMs", took.Milliseconds()))
	if a.fault == nil {
		var s struct {
			Phase  string `json:"phase"`
			Reason string `json:"reason"`
			Action string `json:"action"`
		}
		_ = json.Unmarshal(a.section, &s) // a section that is none has no phase
		for _, t := range []slog.Attr{slog.String("phase", s.Phase), slog.String("reason", s.Reason), slog.String("action", s.Action)} {
			if t.Value.String() != "" {
				attrs = append(attrs, t)
			}
		}
		log.LogAttrs(ctx, slog.LevelInfo, "answered", append(attrs, slog.Int("bytes", len(a.section)))...)
		return
	}
	level := slog.LevelError
	if a.fault.Class() == fault.Retry {
		level = slog.LevelWarn // it is tried again
	}
	attrs = append(attrs, slog.String("code", string(a.fault.Code)), slog.String("class", string(a.fault.Class())), slog.String("error", a.fault.Error()))
	log.LogAttrs(ctx, level, "failed", attrs...)
}
