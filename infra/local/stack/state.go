package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/shared/loopback"
)

// kind marks a directory as ours: only such a directory is ever deleted.
const kind = "fallback-local-stack"

// record is what a stack remembers between starts.
type record struct {
	Kind    string         `json:"kind"`
	Version int            `json:"version"`
	Name    string         `json:"name"`
	Nodes   int            `json:"nodes"`
	Ports   map[string]int `json:"ports"`
}

const recordVersion = 1

// ErrNoStack means that a directory holds no stack.
var ErrNoStack = errors.New("no local stack")

// readRecord reads the marker of a state directory.
func readRecord(l Layout) (record, error) {
	var r record
	data, err := os.ReadFile(l.marker())
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%w in %s", ErrNoStack, l.Dir)
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", l.marker(), err)
	}
	if r.Kind != kind || r.Version != recordVersion {
		return r, fmt.Errorf("%s: kind %q version %d, expected %q version %d", l.marker(), r.Kind, r.Version, kind, recordVersion)
	}
	return r, nil
}

func (r record) write(l Layout) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.marker() + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.marker())
}

// claim makes the directory a stack's, or reads the stack that is there. A directory with other files in it is refused: the
// stack would be deleted with them.
func claim(l Layout, opt Options) (record, error) {
	r, err := readRecord(l)
	switch {
	case errors.Is(err, ErrNoStack):
		entries, err := os.ReadDir(l.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		for _, e := range entries {
			if e.Name() != filepath.Base(l.lock()) && e.Name() != "log" {
				return r, fmt.Errorf("directory %s holds other files (%s) and no local stack: name an empty one", l.Dir, e.Name())
			}
		}
		r = record{Kind: kind, Version: recordVersion, Name: opt.Name, Nodes: DefaultNodes}
	case err != nil:
		return r, err
	}
	if opt.Nodes != 0 {
		r.Nodes = opt.Nodes
	}
	if r.Nodes < 1 || r.Nodes > kwok.MaxNodes {
		return r, fmt.Errorf("nodes %d: expected 1 to %d", r.Nodes, kwok.MaxNodes)
	}
	return r, r.write(l)
}

// settle chooses the ports, once nothing of an earlier run listens on them any more.
func (r *record) settle(l Layout) (err error) {
	if r.Ports, err = loopback.Components.Choose(portNames(), r.Ports); err != nil {
		return err
	}
	return r.write(l)
}

// Purge deletes the state directory of a stack that does not run. A directory without our marker is refused.
func Purge(dir string) error {
	l := Layout{Dir: dir}
	if _, err := readRecord(l); err != nil {
		return fmt.Errorf("refused to delete %s: %w", dir, err)
	}
	unlock, err := lockDir(l)
	if err != nil {
		return err
	}
	defer unlock()
	if s := l.ControlSocket(); !strings.HasPrefix(s, dir) {
		_ = os.RemoveAll(filepath.Dir(s))
	}
	return os.RemoveAll(dir)
}
