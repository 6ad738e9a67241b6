// Command fallback is the operator's side of Fallback Chain: runs, their reports, plans, and the local stack.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

// Exit codes: 0 recovered or evaluated, 1 not recovered, 2 could not run, 3 dirty.
const exitCouldNotRun = 2

// exit carries an exit code; a message that was printed already is empty.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e exit) Unwrap() error { return e.err }

func main() {
	os.Exit(execute())
}

func execute() int {
	// client-go logs what it also returns as an error; people get the one message that is ours.
	klog.SetLogger(klog.Logger{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return code(os.Stderr, newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx))
}

// code prints the error, if it has something to say, and returns the exit code.
func code(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var e exit
	var own interface{ ExitCode() int } // of a command's own package
	switch {
	case errors.As(err, &e):
	case errors.As(err, &own):
		e = exit{own.ExitCode(), err}
	default:
		e = exit{exitCouldNotRun, err}
	}
	if msg := e.Error(); msg != "" {
		fmt.Fprintln(w, "fallback:", msg)
	}
	return e.code
}
