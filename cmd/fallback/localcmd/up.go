package localcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/toolchain"
)

// message is a line from the supervisor to the command that started it; one field is set.
type message struct {
	Event *stack.Event  `json:"event,omitempty"`
	Ready *stack.Status `json:"ready,omitempty"`
	Error string        `json:"error,omitempty"`
}

// repairTimeout bounds the mending of a stack that runs.
const repairTimeout = time.Minute

// messages is the file the supervisor writes to, the first after the standard ones.
const messages = 3

func (o *options) up() *cobra.Command {
	var foreground bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the stack and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := o.stateDir()
			if err != nil {
				return err
			}
			c, err := stack.Connect(dir)
			switch {
			case err == nil:
				return repair(cmd, c)
			case !errors.Is(err, stack.ErrNotRunning) && !errors.Is(err, stack.ErrNoStack):
				return err
			}
			show := newPrinter(cmd.ErrOrStderr())
			if foreground {
				return o.foreground(cmd, dir, show)
			}
			return o.detached(cmd, dir, show)
		},
	}
	o.startFlags(cmd)
	cmd.Flags().BoolVar(&foreground, "foreground", false, "run until interrupted instead of in the background")
	return cmd
}

// repair is what up does for a stack that runs: components that are down are started, and what belongs to the stack is put back.
func repair(cmd *cobra.Command, c *stack.Client) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), repairTimeout)
	defer cancel()
	if err := c.Repair(ctx); err != nil {
		return fmt.Errorf("the stack is running already; mend it: %w", err)
	}
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "the stack is running already")
	announce(cmd.OutOrStdout(), st)
	return nil
}

func (o *options) startFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.nodes, "nodes", 0, fmt.Sprintf("simulated nodes, each in a zone of its own (default: as before, or %d)", stack.DefaultNodes))
	o.sourceFlag(cmd)
}

func (o *options) sourceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.source, "source", "", "source tree to build the programs from (default: found from the working directory)")
}

func (o *options) stackOptions(dir string) stack.Options {
	return stack.Options{Dir: dir, Name: o.name, Nodes: o.nodes, Tools: toolchain.Config{Source: o.source}}
}

// foreground runs the stack in this process until it is interrupted or stopped from elsewhere.
func (o *options) foreground(cmd *cobra.Command, dir string, show *printer) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	opt := o.stackOptions(dir)
	opt.Progress = show.event
	opt.OnExit = func(e process.Event) { show.line(e.String()) }
	s, err := stack.Up(ctx, opt)
	show.close()
	if err != nil {
		return err
	}
	announce(cmd.OutOrStdout(), s.Status())
	return o.hold(ctx, s)
}

// hold waits for the end and stops the stack.
func (o *options) hold(ctx context.Context, s *stack.Stack) error {
	select {
	case <-ctx.Done():
	case <-s.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return s.Stop(end)
}

// detached starts a supervisor of its own session and shows its progress until the stack is ready. When ctx ends before, the
// supervisor is asked to stop and waited for.
func (o *options) detached(cmd *cobra.Command, dir string, show *printer) error {
	defer show.close()
	// The terminal sends an interrupt to this process only, as the supervisor has a session of its own.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logPath := stack.Layout{Dir: dir}.SupervisorLog()
	sup, from, err := o.spawn(cmd, dir, logPath)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer from.Close()
	interrupted := context.AfterFunc(ctx, func() {
		show.line("interrupted: stopping what was started")
		_ = sup.Signal(syscall.SIGTERM)
	})
	defer interrupted()

	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			_, _ = sup.Wait()
			if ctx.Err() != nil {
				return errors.New("interrupted; everything that was started is stopped")
			}
			return fmt.Errorf("the supervisor ended early; its log %s ends: %s", logPath, process.Tail(logPath, 600))
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("read from the supervisor: %w", err)
		}
		switch {
		case m.Event != nil:
			show.event(*m.Event)
		case m.Error != "":
			_, _ = sup.Wait()
			return errors.New(m.Error)
		case m.Ready != nil:
			show.close()
			if !interrupted() { // the interrupt came first: the supervisor stops
				_, _ = sup.Wait()
				return errors.New("interrupted; everything that was started is stopped")
			}
			announce(cmd.OutOrStdout(), *m.Ready)
			return sup.Release()
		}
	}
}

// spawn runs this program again as the supervisor and returns the process and its messages.
func (o *options) spawn(cmd *cobra.Command, dir, logPath string) (*os.Process, io.ReadCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	from, to, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer to.Close()
	// The supervisor is a sibling of this command, wherever the program has put it.
	args := slices.Concat(strings.Fields(cmd.Parent().CommandPath())[1:], []string{"supervise", "--name", o.name, "--dir", dir, "--nodes", strconv.Itoa(o.nodes)})
	if o.source != "" {
		args = append(args, "--source", o.source)
	}
	sup := exec.Command(self, args...)
	sup.Stdout, sup.Stderr, sup.ExtraFiles = log, log, []*os.File{to}
	sup.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := sup.Start(); err != nil {
		_ = from.Close()
		return nil, nil, err
	}
	return sup.Process, from, nil
}

// supervise is what spawn runs: the stack in this process, progress to the pipe.
func (o *options) supervise() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "supervise",
		Short:  "Run the stack for another process (used by up)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			to := os.NewFile(messages, "messages")
			if _, err := to.Stat(); err != nil {
				return errors.New("supervise is started by up only")
			}
			syscall.CloseOnExec(messages)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			tell := newTeller(to)
			logger := newPrinter(cmd.ErrOrStderr())
			opt := o.stackOptions(o.dir)
			opt.Progress = func(e stack.Event) { tell.send(message{Event: &e}); logger.event(e) }
			opt.OnExit = func(e process.Event) { logger.line(e.String()) }
			s, err := stack.Up(ctx, opt)
			if err != nil {
				tell.send(message{Error: err.Error()})
				return err
			}
			st := s.Status()
			tell.send(message{Ready: &st})
			_ = to.Close()
			return o.hold(ctx, s)
		},
	}
	o.startFlags(cmd)
	return cmd
}

// announce says where the stack is.
func announce(out io.Writer, st stack.Status) {
	fmt.Fprintf(out, "stack %s is ready after %s: %s, %d nodes\n", st.Name, seconds(st.Took), st.Server, st.Nodes)
	fmt.Fprintf(out, "Velero's backups go to %s of the S3 server %s\n", st.BackupLocation, st.S3)
	fmt.Fprintf(out, "export KUBECONFIG=%s\n", st.Kubeconfig)
}
