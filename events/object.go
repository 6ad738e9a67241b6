package events

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// object reads one JSON object field by field and collects what is wrong, so that a person learns of all mistakes at
// once; encoding/json stops at the first. Keys are compared exactly.
type object struct {
	path   string
	fields map[string]json.RawMessage
	bad    *Mistakes
}

// newObject reads raw as an object. Anything else is a mistake, and the object then has no fields.
func newObject(path string, raw []byte, bad *Mistakes) object {
	o := object{path: path, bad: bad}
	if err := json.Unmarshal(raw, &o.fields); err != nil || o.fields == nil {
		got := clip(string(bytes.TrimSpace(raw)))
		if got == "" {
			got = "empty"
		}
		*bad = append(*bad, Mistake{Field: o.name(""), Got: got, Want: "a JSON object"})
	}
	return o
}

func (o object) name(key string) string {
	switch {
	case o.path == "" && key == "":
		return "the input"
	case o.path == "":
		return key
	case key == "":
		return o.path
	}
	return o.path + "." + key
}

func (o object) wrong(key, want string) {
	got := clip(string(bytes.TrimSpace(o.fields[key])))
	*o.bad = append(*o.bad, Mistake{Field: o.name(key), Got: got, Want: want})
}

// has tells whether the key is there with a value other than null.
func (o object) has(key string) bool {
	v, ok := o.fields[key]
	return ok && string(bytes.TrimSpace(v)) != "null"
}

// text reads a string that must be there and not be empty.
func (o object) text(key, want string) string {
	s, ok := o.optional(key, want)
	if ok && s == "" {
		o.wrong(key, want) // missing, null or empty
	}
	return s
}

// optional reads a string that may be missing; ok is false when what stands there is no string (the mistake is noted).
func (o object) optional(key, want string) (s string, ok bool) {
	if !o.has(key) {
		return "", true
	}
	if err := json.Unmarshal(o.fields[key], &s); err != nil {
		o.wrong(key, want)
		return "", false
	}
	return s, true
}

// time reads a time that must be there, in one of the layouts.
func (o object) time(key, want string, layouts ...string) time.Time {
	s := o.text(key, want)
	if s == "" {
		return time.Time{}
	}
	for _, l := range layouts {
		if t, err := time.Parse(l, s); err == nil && t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999 {
			return t.UTC()
		}
	}
	o.wrong(key, want)
	return time.Time{}
}

// object reads an object that must be there.
func (o object) object(key string) object {
	if !o.has(key) {
		o.wrong(key, "a JSON object")
		return object{path: o.name(key), bad: o.bad}
	}
	return newObject(o.name(key), o.fields[key], o.bad)
}

// list reads the objects of an array that may be missing.
func (o object) list(key string) []object {
	if !o.has(key) {
		return nil
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(o.fields[key], &raw); err != nil {
		o.wrong(key, "a JSON array of objects")
		return nil
	}
	out := make([]object, len(raw))
	for i := range raw {
		out[i] = newObject(o.name(key)+"["+strconv.Itoa(i)+"]", raw[i], o.bad)
	}
	return out
}

// only notes every key that is not among the given ones.
func (o object) only(keys ...string) {
	var unknown []string
	for k := range o.fields {
		if !slices.Contains(keys, k) {
			unknown = append(unknown, k)
		}
	}
	slices.Sort(unknown)
	for _, k := range unknown {
		o.wrong(k, "no such field here (known: "+strings.Join(keys, ", ")+")")
	}
}

// texts reads an array of texts that must be there; nil when it is wrong (the mistake is noted).
func (o object) texts(key, want string) []string {
	out := []string{}
	if !o.has(key) || json.Unmarshal(o.fields[key], &out) != nil || out == nil {
		o.wrong(key, want)
		return nil
	}
	return out
}
