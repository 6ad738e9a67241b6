package plan

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// nodeLimit is the most YAML nodes that are looked at. Aliases count each time they are used, so that a small text
// cannot unfold into a large plan.
const nodeLimit = 20_000

// mark is where a field stands in the text.
type mark struct {
	line, column int
	value        string
}

// decoder fills a Plan from YAML nodes and collects every mistake instead of ending at the first one.
type decoder struct {
	marks    map[string]mark
	bad      map[string]bool // paths that already have a problem: nothing more is said about them
	visited  int
	problems Problems
}

func newDecoder() *decoder {
	return &decoder{marks: map[string]mark{}, bad: map[string]bool{}}
}

func (d *decoder) problem(n *yaml.Node, path, message, expected string) {
	d.bad[path] = true
	d.problems = append(d.problems, Problem{Path: path, Line: n.Line, Column: n.Column, Value: describe(n),
		Message: message, Expected: expected})
}

// describe is a node's text as a problem repeats it.
func describe(n *yaml.Node) string {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return shorten(n.Value)
	}
}

// decode fills v, which must be settable, from n.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	d.visited++
	if d.visited > nodeLimit {
		if d.visited == nodeLimit+1 {
			d.add(n, path, "", "the plan is too large", fmt.Sprintf("at most %d values, aliases unfolded", nodeLimit))
		}
		return
	}
	d.marks[path] = mark{n.Line, n.Column, describe(n)}
	at := n
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.problem(at, path, "has no value", "a value, or the field left out")
		return
	}
	if v.Type() == reflect.TypeFor[Duration]() {
		d.duration(at, n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(at, v.Elem(), path)
	case reflect.Struct:
		d.structure(at, n, v, path)
	case reflect.Slice:
		d.list(at, n, v, path)
	case reflect.Map:
		d.texts(at, n, v, path)
	case reflect.String:
		d.text(at, n, v, path)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.problem(at, path, "is not a boolean", "true or false"+unquoted(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.problem(at, path, "is not a whole number", "a whole number such as 5432"+unquoted(n))
			return
		}
		v.SetInt(int64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!int" && n.ShortTag() != "!!float") || err != nil ||
			math.IsNaN(f) || math.IsInf(f, 0) {
			d.problem(at, path, "is not a number", "a number such as 1000 or 0.5"+unquoted(n))
			return
		}
		v.SetFloat(f)
	default:
		d.problem(at, path, "cannot be read: type "+v.Type().String()+" is not known to the reader", "")
	}
}

// unquoted says that a quoted number or boolean is text.
func unquoted(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return " without quotes"
	}
	return ""
}

func (d *decoder) text(at, n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.problem(at, path, "is not text", "text")
		return
	}
	if tag := n.ShortTag(); tag != "!!str" {
		d.problem(at, path, "is not text", fmt.Sprintf("text; put it in quotes: %q", shorten(n.Value)))
		return
	}
	v.SetString(n.Value)
}

func (d *decoder) duration(at, n *yaml.Node, v reflect.Value, path string) {
	const want = "a duration such as 45s, 5m or 1h30m"
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
			d.problem(at, path, "has no unit", fmt.Sprintf("%s; %q would be seconds", want, n.Value+"s"))
			return
		}
		d.problem(at, path, "is not a duration", want)
		return
	}
	parsed, err := parseDuration(n.Value)
	if err != nil {
		d.problem(at, path, "is not a duration", want)
		return
	}
	v.SetInt(int64(parsed))
}

func (d *decoder) list(at, n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(at, path, "is not a list", "a list")
		return
	}
	for i, item := range n.Content {
		if d.visited > nodeLimit {
			return
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(item, e, fmt.Sprintf("%s[%d]", path, i))
		v.Set(reflect.Append(v, e))
	}
}

// texts fills a map of text to text.
func (d *decoder) texts(at, n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.problem(at, path, "is not a mapping", "a mapping of text to text")
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content) && d.visited <= nodeLimit; i += 2 {
		key, ok := d.key(n.Content[i], path, lines)
		if !ok {
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(n.Content[i+1], e, path+"["+key+"]")
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf(key), e)
	}
}

// key reads a mapping's key and refuses what is not text and what stands there twice.
func (d *decoder) key(k *yaml.Node, path string, lines map[string]int) (string, bool) {
	at := k
	for k.Kind == yaml.AliasNode && k.Alias != nil {
		k = k.Alias
	}
	if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
		d.add(at, path, "<<", "merge keys are not supported", "the fields written out")
		return "", false
	}
	if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" {
		d.add(at, path, describe(k), "has a key that is not text", "text")
		return "", false
	}
	if first, dup := lines[k.Value]; dup {
		d.add(at, join(path, k.Value), "", fmt.Sprintf("is given twice, first in line %d", first), "each field once")
		return "", false
	}
	lines[k.Value] = at.Line
	return k.Value, true
}

// add reports something about a key; the path itself stays open for checks.
func (d *decoder) add(n *yaml.Node, path, value, message, expected string) {
	d.problems = append(d.problems, Problem{Path: path, Line: n.Line, Column: n.Column, Value: shorten(value),
		Message: message, Expected: expected})
}

func (d *decoder) structure(at, n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		d.problem(at, path, "is not a mapping", "a mapping of "+list(names(v.Type())))
		return
	}
	fields := names(v.Type())
	given := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode {
			given[k.Value] = true
		}
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content) && d.visited <= nodeLimit; i += 2 {
		key, ok := d.key(n.Content[i], path, lines)
		if !ok {
			continue
		}
		j := slices.Index(fields, key)
		if j < 0 {
			near := nearest(key, fields)
			if near != "" && !given[near] {
				d.bad[join(path, near)] = true // do not also call it missing
			}
			d.problems = append(d.problems, Problem{Path: join(path, key), Line: n.Content[i].Line, Column: n.Content[i].Column,
				Message: "is not a field of a plan", Expected: list(fields), Hint: meant(near)})
			continue
		}
		d.decode(n.Content[i+1], v.Field(j), join(path, key))
	}
}

// meant is the hint for a word that is not known.
func meant(near string) string {
	if near == "" {
		return ""
	}
	return "did you mean " + near + "?"
}

// names lists a struct's YAML names in the order of its fields.
func names(t reflect.Type) []string {
	out := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		out = append(out, yamlName(f))
	}
	return out
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func optional(f reflect.StructField) bool {
	return strings.Contains(f.Tag.Get("yaml"), ",omitempty")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// list writes "a, b or c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// durationLimit is the longest duration that is read at all; each field has its own cap far below it.
const durationLimit = 10 * 365 * 24 * time.Hour
