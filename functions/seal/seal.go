// Package seal signs what a Velero backup is at the moment it completes. It takes S3's event for velero-backup.json, waits until Velero
// has written the last object, verifies the backup from S3 alone, and writes the manifest, signed by the key of the environment.
//
// A manifest that is written now says what Velero wrote; one that is written later says only what was there then.
package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// Action is what the function did.
type Action string

const (
	// Sealed: manifest and signature were written and read back.
	Sealed Action = "Sealed"
	// AlreadySealed: they were there, and every object still equals them.
	AlreadySealed Action = "AlreadySealed"
	// NotCompleted: Velero has not finished the backup; it writes velero-backup.json again when it has.
	NotCompleted Action = "NotCompleted"
	// NotSealed: the backup ended as something else than Completed.
	NotSealed Action = "NotSealed"
	// NotVerified: the backup is Completed and not whole, or not what its manifest says.
	NotVerified Action = "NotVerified"
	// Gone: the backup was deleted since.
	Gone Action = "Gone"
	// Ignored: the event is of another object.
	Ignored Action = "Ignored"
)

// Result is what was done, for the log and for whoever invoked the function.
type Result struct {
	Action Action `json:"action"`
	Backup string `json:"backup,omitempty"`
	Phase  string `json:"phase,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Objects are those of the tarball, Bytes those of everything in S3.
	Objects int   `json:"objects,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Listing is the backup's identity, as in run.Backup.
	Listing string `json:"listing,omitempty"`
	// Stops are findings that stop a restore.
	Stops []string `json:"stops,omitempty"`
}

const (
	// Velero is waited for that long, asking the store after 2 s, 4 s and on, at most every 30 s: S3 has nothing to watch. The rest of
	// the function's time is for reading.
	patience = 5 * time.Minute
	pause    = 2 * time.Second
	longest  = 30 * time.Second
	// stops and text bound what a result repeats.
	stops = 5
	text  = 500
)

// Handler is the function. All fields but Prefix are wanted.
type Handler struct {
	// Bucket and Prefix are Store's place.
	Bucket, Prefix string
	Store          backup.Sealing
	Key            backup.Signer
	Now            func() time.Time
	// Sleep waits, or returns the context's error.
	Sleep func(context.Context, time.Duration) error
	Log   *slog.Logger
}

// Handle takes one event. An error is a fault that may go away: Lambda delivers the event again, and at last to the dead letters.
// What does not go away is a result, and an error in the log.
func (h *Handler) Handle(ctx context.Context, payload json.RawMessage) (Result, error) {
	began := h.Now()
	res, err := h.handle(ctx, payload)
	level := slog.LevelInfo
	if err != nil || res.Action == NotSealed || res.Action == NotVerified {
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("action", string(res.Action)), slog.String("backup", res.Backup), slog.String("phase", res.Phase),
		slog.String("reason", res.Reason), slog.Int64("bytes", res.Bytes), slog.Any("stops", res.Stops), slog.Duration("took", h.Now().Sub(began))}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	h.Log.LogAttrs(ctx, level, "seal", attrs...)
	return res, err
}

func (h *Handler) handle(ctx context.Context, payload json.RawMessage) (Result, error) {
	registry, err := events.NewRegistry(events.BackupWritten{Bucket: h.Bucket, Prefix: h.Prefix})
	if err != nil {
		return Result{}, fault.New(fault.Internal, "read the event", err)
	}
	e, err := registry.Parse(payload)
	if err != nil {
		return Result{}, fault.New(fault.InputInvalid, "read the event", err)
	}
	switch e := e.(type) {
	case events.Backup:
		return h.backup(ctx, e.Name)
	case events.NoOp:
		return Result{Action: Ignored, Reason: e.Reason}, nil
	}
	return Result{}, fault.Newf(fault.Internal, "read the event", "an event of type %T", e)
}

func (h *Handler) backup(ctx context.Context, name string) (Result, error) {
	res := Result{Backup: name}
	p, err := h.look(ctx, name)
	res.Phase = p.Phase
	switch {
	case errors.Is(err, fs.ErrNotExist):
		res.Action, res.Reason = Gone, err.Error()
		return res, nil
	case err != nil:
		return res, failed("look at backup "+name, err)
	}
	switch p.Stage {
	case backup.StageCompleted:
	case backup.StageEnded:
		res.Action, res.Reason = NotSealed, fmt.Sprintf("the backup ended in phase %s, expected %s", p.Phase, backup.PhaseCompleted)
		return res, nil
	case backup.StageRewriting:
		return res, fault.Newf(fault.Unavailable, "seal backup "+name, "Velero says %s and has not written the tarball again for %s", p.Phase, patience)
	default:
		res.Action, res.Reason = NotCompleted, fmt.Sprintf("the backup is in phase %q", p.Phase)
		return res, nil
	}
	v, err := backup.Seal(ctx, h.Store, name, "", backup.Expectation{Now: h.Now()}, h.Key)
	res.Objects, res.Bytes, res.Listing = v.Objects, v.Bytes, v.Listing
	switch {
	case errors.Is(err, backup.ErrNotSealed) && v.Status == signal.False:
		res.Action, res.Reason, res.Stops = NotVerified, v.Reason, stopping(v.Findings)
		return res, nil
	case errors.Is(err, backup.ErrNotSealed):
		return res, fault.New(fault.Unavailable, "seal backup "+name, err)
	case err != nil:
		return res, failed("seal backup "+name, err)
	case v.Status != signal.True || v.Integrity != signal.True:
		return res, fault.Newf(fault.Internal, "seal backup "+name, "it was sealed and is %s, its integrity %s", v.Status, v.Integrity)
	}
	if res.Action, res.Reason = Sealed, clip(v.Message); p.Signed {
		res.Action = AlreadySealed
	}
	return res, nil
}

// look looks at a backup, until Velero has written its tarball again where it has that to do.
func (h *Handler) look(ctx context.Context, name string) (backup.Progress, error) {
	until, d := h.Now().Add(patience), pause
	for {
		p, err := backup.Look(ctx, h.Store, name, h.Now())
		if err != nil || p.Stage != backup.StageRewriting || h.Now().Add(d).After(until) {
			return p, err
		}
		if err := h.Sleep(ctx, d); err != nil {
			return p, err
		}
		d = min(2*d, longest)
	}
}

// failed gives an error of the store or the key its code.
func failed(op string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.PermissionDenied, op, err)
	case errors.Is(err, fs.ErrExist): // another seals it now, or a manifest that says something else is never overwritten
		return fault.New(fault.Conflict, op, err)
	}
	return awsfault.Fault(op, err)
}

func stopping(findings []run.Finding) []string {
	var out []string
	for _, f := range findings {
		if f.Severity == run.Stop {
			out = append(out, clip(f.Subject+" "+f.Problem))
		}
	}
	if n := len(out); n > stops {
		out = append(out[:stops:stops], fmt.Sprintf("%d more", n-stops))
	}
	return out
}

func clip(s string) string {
	if len(s) <= text {
		return s
	}
	return strings.ToValidUTF8(s[:text], "") + "…"
}

// Sleep waits for d, or returns the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
