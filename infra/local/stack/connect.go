package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
)

// ErrNotRunning means that no supervisor answers for a state directory.
var ErrNotRunning = errors.New("the stack is not running")

// Client speaks with the supervisor of a running stack from another process.
type Client struct {
	layout Layout
	http   *http.Client
}

// Connect returns a client for the stack in dir. ErrNoStack: there is none; ErrNotRunning: it is not running.
func Connect(dir string) (*Client, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := Layout{Dir: dir}
	if _, err := readRecord(l); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.ControlSocket())
	}
	conn, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", ErrNotRunning, dir)
	}
	_ = conn.Close()
	return &Client{layout: l, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Layout names the files of the stack.
func (c *Client) Layout() Layout { return c.layout }

// Kubeconfig is the path of the administrator's.
func (c *Client) Kubeconfig() string { return c.layout.Kubeconfig() }

// AuditLog is the path of the API server's.
func (c *Client) AuditLog() string { return c.layout.AuditLog() }

// KubeconfigFor writes a kubeconfig for a user in groups and returns its path.
func (c *Client) KubeconfigFor(user string, groups ...string) (string, error) {
	return kubeconfigFor(c.layout, user, groups...)
}

// Status asks how the stack is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.call(ctx, http.MethodGet, pathStatus, &st)
	return st, err
}

// StopComponent stops a component and waits until it is gone.
func (c *Client) StopComponent(ctx context.Context, name string) error {
	return c.component(ctx, name, "stop")
}

// KillComponent ends a component at once, as a crash would, and leaves it down.
func (c *Client) KillComponent(ctx context.Context, name string) error {
	return c.component(ctx, name, "kill")
}

// StartComponent starts a stopped component and waits until it works.
func (c *Client) StartComponent(ctx context.Context, name string) error {
	return c.component(ctx, name, "start")
}

// Repair starts the components that are down and puts the stack's own objects back.
func (c *Client) Repair(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, pathRepair, nil)
}

func (c *Client) component(ctx context.Context, name, verb string) error {
	return c.call(ctx, http.MethodPost, "/v1/components/"+name+"/"+verb, nil)
}

// Stop stops the stack and waits until its supervisor has given the state directory free.
func (c *Client) Stop(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, pathStop, nil); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		unlock, err := lockDir(c.layout)
		if err == nil {
			unlock()
			return nil
		}
		if !errors.Is(err, ErrRunning) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the stack to stop: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// call sends a request and decodes the reply into out, when there is one.
func (c *Client) call(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://stack"+path, nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusMultipleChoices {
		var a answer
		if err := json.NewDecoder(res.Body).Decode(&a); err != nil || a.Error == "" {
			return fmt.Errorf("the supervisor answered %s", res.Status)
		}
		return errors.New(a.Error)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// StatusOf describes the stack in dir, running or not. ErrNoStack: there is none.
func StatusOf(ctx context.Context, dir string) (Status, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Status{}, err
	}
	c, err := Connect(dir)
	if err == nil {
		st, err := c.Status(ctx)
		if err == nil {
			return st, nil
		}
	} else if !errors.Is(err, ErrNotRunning) {
		return Status{}, err
	}
	l := Layout{Dir: dir}
	r, err := readRecord(l)
	if err != nil {
		return Status{}, err
	}
	b := backups(l, r)
	return Status{Name: r.Name, Dir: dir, Kubeconfig: l.Kubeconfig(), Server: serverURL(r), AuditLog: l.AuditLog(), Nodes: r.Nodes,
		S3: b.Endpoint, BackupLocation: b.Location()}, nil
}

// Down stops the stack in dir, running or crashed, and reports whether anything ran. ErrNoStack: there is none.
func Down(ctx context.Context, dir string) (ran bool, err error) {
	c, err := Connect(dir)
	switch {
	case err == nil:
		return true, c.Stop(ctx)
	case !errors.Is(err, ErrNotRunning):
		return false, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false, err
	}
	l := Layout{Dir: dir}
	unlock, err := lockDir(l)
	if errors.Is(err, ErrRunning) {
		return false, fmt.Errorf("the stack in %s is just starting or stopping: try again in a moment", dir)
	}
	if err != nil {
		return false, err
	}
	defer unlock()
	left, err := process.Open(l.records(), nil).TakeOver(ctx)
	return len(left) > 0, err
}
