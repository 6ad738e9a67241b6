package cond

import (
	"errors"
	"fmt"
	"strings"
)

// Path is a JSONPath of plain member names: "$", "$.mode", "$.assess.signals.PVCsBound.status". It is the subset that is
// both a Path and a Reference Path of the Amazon States Language (https://states-language.net/spec.html#ref-paths).
type Path string

// ErrMissing says that a path leads to nothing in the document. Step Functions ends the execution with States.Runtime.
var ErrMissing = errors.New("the path leads to nothing")

// MaxPath is the longest path that is accepted, in bytes.
const MaxPath = 256

// ParsePath checks text and returns it as a Path.
func ParsePath(text string) (Path, error) {
	if len(text) > MaxPath {
		return "", fmt.Errorf("path of %d bytes is longer than %d", len(text), MaxPath)
	}
	if text == "$" {
		return "$", nil
	}
	rest, ok := strings.CutPrefix(text, "$.")
	if !ok {
		return "", fmt.Errorf("path %q does not begin with \"$.\"", text)
	}
	for _, name := range strings.Split(rest, ".") {
		if !plain(name) {
			return "", fmt.Errorf("path %q: %q is not a plain member name (letters, digits and _, not beginning with a digit)", text, name)
		}
	}
	return Path(text), nil
}

func plain(name string) bool {
	for i, r := range name {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// Names returns the member names of the path; none for "$".
func (p Path) Names() []string {
	rest, ok := strings.CutPrefix(string(p), "$.")
	if !ok {
		return nil
	}
	return strings.Split(rest, ".")
}

// Under tells whether p is q or lies under it.
func (p Path) Under(q Path) bool {
	return q == "$" || p == q || strings.HasPrefix(string(p), string(q)+".")
}

// Join returns the path of a member under p.
func (p Path) Join(name string) Path { return Path(string(p) + "." + name) }

// Get returns what the path leads to in a decoded JSON document. The error wraps ErrMissing when it leads to nothing.
func Get(doc any, p Path) (any, error) {
	at := doc
	for _, name := range p.Names() {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: %w", p, ErrMissing)
		}
		if at, ok = m[name]; !ok {
			return nil, fmt.Errorf("%s: %w", p, ErrMissing)
		}
	}
	return at, nil
}

// Set writes value at the path and returns the document; objects on the way are made when they are missing. A value on the
// way that is no object is an error, as a Reference Path cannot be applied there.
func Set(doc any, p Path, value any) (any, error) {
	names := p.Names()
	if len(names) == 0 {
		return value, nil
	}
	root, ok := doc.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: the document is no object", p)
	}
	at := root
	for i, name := range names[:len(names)-1] {
		next, there := at[name]
		if !there {
			made := map[string]any{}
			at[name], at = made, made
			continue
		}
		if at, ok = next.(map[string]any); !ok {
			return nil, fmt.Errorf("%s: $.%s is no object", p, strings.Join(names[:i+1], "."))
		}
	}
	at[names[len(names)-1]] = value
	return root, nil
}
