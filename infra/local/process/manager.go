package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Manager runs the children of one state file. Its methods may be called from several goroutines.
type Manager struct {
	file    string
	onEvent func(Event)
	pause   time.Duration // before the first restart

	mu       sync.Mutex
	children []*child // in the order of their first start
	closed   bool
}

// Open makes a manager whose records are in file. onEvent, which may be nil, is called from the goroutine that watches a child and must
// not call the manager. Call TakeOver before the first Start.
func Open(file string, onEvent func(Event)) *Manager {
	if onEvent == nil {
		onEvent = func(Event) {}
	}
	return &Manager{file: file, onEvent: onEvent, pause: firstPause}
}

// Start starts a child. One that was stopped or failed under the same name is replaced; one that runs is an error.
func (m *Manager) Start(spec Spec) error {
	if spec.Grace == 0 {
		spec.Grace = 10 * time.Second
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("start %s: the stack is stopping", spec.Name)
	}
	c := newChild(spec, m.pause, m.onEvent, m.save)
	i := slices.IndexFunc(m.children, func(o *child) bool { return o.spec.Name == spec.Name })
	if i >= 0 && !m.children[i].over() {
		return fmt.Errorf("start %s: it is running already", spec.Name)
	}
	if i >= 0 {
		m.children[i] = c
	} else {
		m.children = append(m.children, c)
	}
	if err := c.start(); err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return m.write()
}

// Stop stops a child and waits until it is gone: SIGTERM, after its grace, or when ctx ends, SIGKILL to its whole group.
func (m *Manager) Stop(ctx context.Context, name string) error {
	m.mu.Lock()
	i := slices.IndexFunc(m.children, func(o *child) bool { return o.spec.Name == name })
	if i < 0 {
		m.mu.Unlock()
		return fmt.Errorf("stop %s: no such component", name)
	}
	c := m.children[i]
	m.mu.Unlock()
	c.stop(ctx)
	return m.save()
}

// Kill ends a child at once, as a crash would, and does not start it again.
func (m *Manager) Kill(name string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return m.Stop(ctx, name)
}

// StopAll stops all children in the reverse order of their start and refuses to start others.
func (m *Manager) StopAll(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	all := slices.Clone(m.children)
	m.mu.Unlock()
	slices.Reverse(all)
	for _, c := range all {
		c.stop(ctx)
	}
	return m.save()
}

// Status describes every child in the order of their start.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Status
	for _, c := range m.children {
		all = append(all, c.status())
	}
	return all
}

// Running returns nil while the named child runs, else an error that says how it ended.
func (m *Manager) Running(name string) error {
	for _, s := range m.Status() {
		if s.Name != name {
			continue
		}
		switch {
		case s.State == Running || s.State == Restarting:
			return nil
		case s.LastExit != "":
			return fmt.Errorf("%s: %s", name, s.LastExit)
		}
		return fmt.Errorf("%s is %s", name, s.State)
	}
	return errors.New(name + " was never started")
}

func (m *Manager) save() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.write()
}

// write saves the records of what runs; the caller holds the lock.
func (m *Manager) write() error {
	var all []record
	for _, c := range m.children {
		if r, ok := c.record(); ok {
			all = append(all, r)
		}
	}
	return writeRecords(m.file, all)
}
