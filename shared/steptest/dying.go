package steptest

import (
	"context"
	"errors"

	"fallbackchain.io/fallback/shared/journal"
)

// ErrKilled is what every write of a journal answers after its process died.
var ErrKilled = errors.New("the process was killed")

// Dying is a journal whose process dies at its write number Left, counted from 1: before the write is made, or After it. From then
// on nothing is written. It is its own Store.
type Dying struct {
	journal.Journal
	Left  *int
	After bool
}

// Open returns the journal itself.
func (d Dying) Open(context.Context, string) (journal.Journal, error) { return d, nil }

func (d Dying) write(w func() error) error {
	*d.Left--
	switch {
	case *d.Left > 0:
		return w()
	case *d.Left == 0 && d.After:
		return errors.Join(w(), ErrKilled)
	}
	return ErrKilled
}

// Intend writes an intent, unless the process dies first.
func (d Dying) Intend(ctx context.Context, i journal.Intent) (seq int, err error) {
	err = d.write(func() error {
		var err error
		seq, err = d.Journal.Intend(ctx, i)
		return err
	})
	return seq, err
}

// Done writes how an intent ended, unless the process dies first.
func (d Dying) Done(ctx context.Context, n journal.Done) error {
	return d.write(func() error { return d.Journal.Done(ctx, n) })
}

// Undone writes how an intent was compensated, unless the process dies first.
func (d Dying) Undone(ctx context.Context, n journal.Undone) error {
	return d.write(func() error { return d.Journal.Undone(ctx, n) })
}
