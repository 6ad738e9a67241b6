// Package render executes templates in the syntax of text/template, without calling methods: fields, functions, variables, if, with, range,
// template and define. text/template looks methods up by name, and a program in which that can happen keeps every method of every type that
// it links: 12 MB of a function (https://github.com/golang/go/blob/master/src/cmd/link/internal/ld/deadcode.go, "reflectMethod").
package render

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/template/parse"
)

// Safe is text that is written as it is.
type Safe string

// Nothing is written for a nil pointer.
const Nothing = "none"

// HTML escapes text for an element's content or a quoted attribute's value, and for nothing else, as html/template does.
func HTML(s string) string { return escapes.Replace(s) }

var escapes = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")

// Template is a parsed template and those that it defines. Safe for concurrent use.
type Template struct {
	name      string
	trees     map[string]*parse.Tree
	functions map[string]any
	escape    func(string) string
}

// Parse parses a template. Every value that it writes but Safe goes through escape; nil leaves texts as they are.
func Parse(name, text string, functions map[string]any, escape func(string) string) (*Template, error) {
	trees, err := parse.Parse(name, text, "", "", functions, builtins)
	if err != nil {
		return nil, err
	}
	return &Template{name, trees, functions, escape}, nil
}

// Execute writes the template. The error of what the template asks for and the data does not have names both.
func (t *Template) Execute(w io.Writer, data any) error {
	r := &run{t: t, w: w}
	return r.template(t.name, reflect.ValueOf(data))
}

type variable struct {
	name  string
	value reflect.Value
}

// run is one execution.
type run struct {
	t     *Template
	w     io.Writer
	vars  []variable
	depth int
}

// maxDepth bounds templates within templates.
const maxDepth = 50

func (r *run) template(name string, dot reflect.Value) error {
	tree := r.t.trees[name]
	if tree == nil {
		return fmt.Errorf("template %s: there is no template %q", r.t.name, name)
	}
	if r.depth++; r.depth > maxDepth {
		return fmt.Errorf("template %s: more than %d templates within each other", name, maxDepth)
	}
	outer := r.vars
	r.vars = []variable{{"$", dot}}
	err := r.walk(dot, tree.Root)
	r.vars = outer
	r.depth--
	return err
}

func (r *run) walk(dot reflect.Value, n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, child := range n.Nodes {
			if err := r.walk(dot, child); err != nil {
				return err
			}
		}
		return nil
	case *parse.TextNode:
		_, err := r.w.Write(n.Text)
		return err
	case *parse.ActionNode:
		v, err := r.pipe(dot, n.Pipe)
		if err != nil || len(n.Pipe.Decl) > 0 {
			return err
		}
		return r.print(v)
	case *parse.IfNode:
		return r.branch(dot, &n.BranchNode, false)
	case *parse.WithNode:
		return r.branch(dot, &n.BranchNode, true)
	case *parse.RangeNode:
		return r.each(dot, n)
	case *parse.TemplateNode:
		v, err := r.pipe(dot, n.Pipe)
		if err != nil {
			return err
		}
		return r.template(n.Name, v)
	}
	return fmt.Errorf("template %s: %q is not supported", r.t.name, n)
}

// scoped forgets the variables that do sets.
func (r *run) scoped(do func() error) error {
	n := len(r.vars)
	err := do()
	r.vars = r.vars[:n]
	return err
}

func (r *run) branch(dot reflect.Value, n *parse.BranchNode, with bool) error {
	return r.scoped(func() error {
		v, err := r.pipe(dot, n.Pipe)
		switch {
		case err != nil:
			return err
		case !truth(v):
			return r.walk(dot, n.ElseList)
		case with:
			return r.walk(v, n.List)
		}
		return r.walk(dot, n.List)
	})
}

func (r *run) each(dot reflect.Value, n *parse.RangeNode) error {
	return r.scoped(func() error {
		v, err := r.pipe(dot, n.Pipe)
		if err != nil {
			return err
		}
		v = indirect(v)
		if !truth(v) {
			return r.walk(dot, n.ElseList)
		}
		if k := v.Kind(); (k != reflect.Slice && k != reflect.Array) || len(n.Pipe.Decl) > 0 {
			return fmt.Errorf("template %s: %s: expected a list, without variables", r.t.name, n.Pipe)
		}
		for i := range v.Len() {
			if err := r.scoped(func() error { return r.walk(v.Index(i), n.List) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// truth is false for what is empty, as in text/template; a struct is true.
func truth(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.String:
		return v.Len() > 0
	case reflect.Struct:
		return true
	default:
		return !v.IsZero()
	}
}

// indirect follows pointers and interfaces; the zero Value when one is nil.
func indirect(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

func (r *run) print(v reflect.Value) error {
	v = indirect(v)
	text := Nothing
	if v.IsValid() {
		if s, ok := v.Interface().(Safe); ok {
			_, err := io.WriteString(r.w, string(s))
			return err
		}
		text = fmt.Sprint(v.Interface())
	}
	if r.t.escape != nil {
		text = r.t.escape(text)
	}
	_, err := io.WriteString(r.w, text)
	return err
}
