package render

import (
	"fmt"
	"reflect"
	"text/template/parse"
)

// pipe evaluates a pipeline, and sets its variable.
func (r *run) pipe(dot reflect.Value, p *parse.PipeNode) (v reflect.Value, err error) {
	if p == nil {
		return v, nil
	}
	for i, c := range p.Cmds {
		var piped []reflect.Value
		if i > 0 {
			piped = []reflect.Value{v}
		}
		if v, err = r.command(dot, c, piped); err != nil {
			return v, err
		}
	}
	for _, d := range p.Decl {
		if p.IsAssign {
			return v, fmt.Errorf("template %s: %s: assigning is not supported", r.t.name, p)
		}
		r.vars = append(r.vars, variable{d.Ident[0], v})
	}
	return v, nil
}

// command evaluates a function with its arguments, or one value.
func (r *run) command(dot reflect.Value, c *parse.CommandNode, piped []reflect.Value) (reflect.Value, error) {
	f, isFunction := c.Args[0].(*parse.IdentifierNode)
	if !isFunction {
		if len(c.Args) > 1 || len(piped) > 0 {
			return reflect.Value{}, fmt.Errorf("template %s: %s: only functions take arguments", r.t.name, c)
		}
		return r.value(dot, c.Args[0])
	}
	var args []reflect.Value
	for _, a := range c.Args[1:] {
		v, err := r.value(dot, a)
		if err != nil {
			return v, err
		}
		args = append(args, v)
	}
	return r.call(c, f.Ident, append(args, piped...))
}

func (r *run) value(dot reflect.Value, n parse.Node) (reflect.Value, error) {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		return r.fields(dot, n.Ident, n)
	case *parse.VariableNode:
		for i := len(r.vars) - 1; i >= 0; i-- {
			if r.vars[i].name == n.Ident[0] {
				return r.fields(r.vars[i].value, n.Ident[1:], n)
			}
		}
	case *parse.PipeNode:
		return r.pipe(dot, n)
	case *parse.IdentifierNode:
		return r.call(n, n.Ident, nil)
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.NumberNode:
		if n.IsInt {
			return reflect.ValueOf(int(n.Int64)), nil
		}
	case *parse.BoolNode:
		return reflect.ValueOf(n.True), nil
	}
	return reflect.Value{}, fmt.Errorf("template %s: %q is not supported", r.t.name, n)
}

// fields follows names of fields.
func (r *run) fields(v reflect.Value, names []string, n parse.Node) (reflect.Value, error) {
	for _, name := range names {
		v = indirect(v)
		if v.Kind() != reflect.Struct {
			return v, fmt.Errorf("template %s: %s: what should have the field %s is no struct", r.t.name, n, name)
		}
		f := v.FieldByName(name)
		if !f.IsValid() {
			return f, fmt.Errorf("template %s: %s: %s has no field %s", r.t.name, n, v.Type(), name)
		}
		v = f
	}
	return v, nil
}

// call calls a function, which returns one value.
func (r *run) call(n parse.Node, name string, args []reflect.Value) (reflect.Value, error) {
	given, ok := r.t.functions[name]
	if !ok {
		given = builtins[name]
	}
	f := reflect.ValueOf(given)
	if f.Kind() != reflect.Func || f.Type().IsVariadic() || f.Type().NumIn() != len(args) || f.Type().NumOut() != 1 {
		return f, fmt.Errorf("template %s: %s: %s is no function of %d arguments and one result", r.t.name, n, name, len(args))
	}
	for i, a := range args {
		want := f.Type().In(i)
		for a.IsValid() && !a.Type().AssignableTo(want) && (a.Kind() == reflect.Pointer || a.Kind() == reflect.Interface) {
			a = a.Elem()
		}
		switch {
		case !a.IsValid() && (want.Kind() == reflect.Pointer || want.Kind() == reflect.Interface):
			a = reflect.Zero(want)
		case !a.IsValid() || !a.Type().AssignableTo(want):
			return a, fmt.Errorf("template %s: %s: argument %d of %s is %s, expected %s", r.t.name, n, i+1, name, typeOf(a), want)
		}
		args[i] = a
	}
	return f.Call(args)[0], nil
}

func typeOf(v reflect.Value) string {
	if !v.IsValid() {
		return "nothing"
	}
	return v.Type().String()
}

// builtins are the functions that every template has.
var builtins = map[string]any{
	"eq": func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) },
	"gt": func(a, b any) bool { return number(a) > number(b) },
}

// number is a whole number's value; 0 for what is none.
func number(a any) int64 {
	if v := reflect.ValueOf(a); v.CanInt() {
		return v.Int()
	}
	return 0
}
