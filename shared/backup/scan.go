package backup

import (
	"encoding/json"
	"errors"
	"fmt"
)

// header is what says which object a JSON is. The slices are of the JSON that was scanned.
type header struct{ apiVersion, kind, namespace, name []byte }

// maxDepth is encoding/json's own bound of nesting.
const maxDepth = 10000

// scanner validates one JSON value as encoding/json.Valid does, and picks the header on the way: a tarball is mostly JSON that
// nothing else is asked of.
type scanner struct {
	d []byte
	i int
	h *header
}

var errJSON = errors.New("is not valid JSON")

// scanObject checks that data is exactly one JSON object and picks its header.
func scanObject(data []byte) (header, error) {
	var h header
	s := scanner{d: data, h: &h}
	s.space()
	if s.i >= len(data) || data[s.i] != '{' {
		return h, errors.New("is no JSON object")
	}
	ok := s.object(1, top)
	s.space()
	if !ok || s.i != len(data) {
		return h, fmt.Errorf("%w (at byte %d of %d)", errJSON, s.i, len(data))
	}
	return h, nil
}

// validJSON is encoding/json.Valid.
func validJSON(data []byte) bool {
	s := scanner{d: data}
	ok := s.value(0)
	s.space()
	return ok && s.i == len(data)
}

// place is where an object stands in a Kubernetes object.
type place int

const (
	elsewhere place = iota
	top
	metadata
)

func (s *scanner) space() {
	for s.i < len(s.d) {
		switch s.d[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) bool {
	s.space()
	if s.i >= len(s.d) {
		return false
	}
	switch c := s.d[s.i]; c {
	case '{':
		return s.object(depth+1, elsewhere)
	case '[':
		return s.array(depth + 1)
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int, at place) bool {
	if depth > maxDepth {
		return false
	}
	s.i++ // {
	s.space()
	if s.i < len(s.d) && s.d[s.i] == '}' {
		s.i++
		return true
	}
	for {
		s.space()
		if s.i >= len(s.d) || s.d[s.i] != '"' {
			return false
		}
		key, ok := s.text()
		if !ok {
			return false
		}
		s.space()
		if s.i >= len(s.d) || s.d[s.i] != ':' {
			return false
		}
		s.i++
		if !s.member(depth, at, key) {
			return false
		}
		s.space()
		if s.i >= len(s.d) {
			return false
		}
		c := s.d[s.i]
		s.i++
		if c == '}' {
			return true
		}
		if c != ',' {
			return false
		}
	}
}

// member scans a member's value; that of a header's field is kept.
func (s *scanner) member(depth int, at place, key []byte) bool {
	if at == elsewhere {
		return s.value(depth)
	}
	s.space()
	if s.i >= len(s.d) {
		return false
	}
	field := s.field(at, unquote(key))
	switch {
	case s.d[s.i] == '{' && at == top && string(unquote(key)) == "metadata":
		s.h.namespace, s.h.name = nil, nil // of several the last counts, as for any decoder
		return s.object(depth+1, metadata)
	case s.d[s.i] == '"' && field != nil:
		v, ok := s.text()
		*field = unquote(v)
		return ok
	case field != nil:
		*field = nil
	}
	return s.value(depth)
}

func (s *scanner) field(at place, key []byte) *[]byte {
	switch {
	case at == top && string(key) == "apiVersion":
		return &s.h.apiVersion
	case at == top && string(key) == "kind":
		return &s.h.kind
	case at == metadata && string(key) == "namespace":
		return &s.h.namespace
	case at == metadata && string(key) == "name":
		return &s.h.name
	}
	return nil
}

// unquote takes a text's escapes away; most have none.
func unquote(quoted []byte) []byte {
	for _, c := range quoted {
		if c == '\\' {
			var t string
			if json.Unmarshal(quoted, &t) != nil {
				return nil
			}
			return []byte(t)
		}
	}
	if len(quoted) < 2 {
		return nil
	}
	return quoted[1 : len(quoted)-1]
}

func (s *scanner) array(depth int) bool {
	if depth > maxDepth {
		return false
	}
	s.i++ // [
	s.space()
	if s.i < len(s.d) && s.d[s.i] == ']' {
		s.i++
		return true
	}
	for {
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.i >= len(s.d) {
			return false
		}
		c := s.d[s.i]
		s.i++
		if c == ']' {
			return true
		}
		if c != ',' {
			return false
		}
	}
}

func (s *scanner) literal(want string) bool {
	if len(s.d)-s.i < len(want) || string(s.d[s.i:s.i+len(want)]) != want {
		return false
	}
	s.i += len(want)
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.d) && s.d[s.i] >= '0' && s.d[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) at(set string) bool {
	if s.i < len(s.d) {
		for j := range len(set) {
			if s.d[s.i] == set[j] {
				s.i++
				return true
			}
		}
	}
	return false
}

func (s *scanner) number() bool {
	s.at("-")
	if !s.at("0") && !s.digits() {
		return false
	}
	if s.at(".") && !s.digits() {
		return false
	}
	if s.at("eE") {
		s.at("+-")
		return s.digits()
	}
	return true
}
