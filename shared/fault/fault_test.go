package fault

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestEveryCodeHasAClass reads the source: a code that somebody adds without a class would be Dirty by default.
func TestEveryCodeHasAClass(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(x ast.Node) bool {
		v, ok := x.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "Code" {
			return true
		}
		text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if _, ok := classes[Code(text)]; !ok {
			t.Errorf("code %s has no class", text)
		}
		if text != v.Names[0].Name {
			t.Errorf("constant %s is named %q in the state machine", v.Names[0].Name, text)
		}
		return true
	})
	if n != len(classes) {
		t.Errorf("%d constants, %d classified codes", n, len(classes))
	}
}

func TestCodesAreSortedAndDisjoint(t *testing.T) {
	seen := map[Code]Class{}
	for _, k := range []Class{Retry, Demote, Rollback, Abort, Dirty} {
		cs := Codes(k)
		if !slices.IsSorted(cs) || len(cs) == 0 {
			t.Errorf("%s: %v", k, cs)
		}
		for _, c := range cs {
			if other, ok := seen[c]; ok {
				t.Errorf("%s is both %s and %s", c, other, k)
			}
			seen[c] = k
		}
	}
}

func TestFrom(t *testing.T) {
	lost := New(LeaseLost, "check the lease", errors.New("another holder"))
	for name, tc := range map[string]struct {
		err  error
		code Code
	}{
		"a wrapped fault": {fmt.Errorf("step: %w", lost), LeaseLost},
		"a joined fault":  {errors.Join(errors.New("x"), lost), LeaseLost},
		"anything else":   {errors.New("x"), Internal},
	} {
		if got := From(tc.err); got.Code != tc.code {
			t.Errorf("%s: %s, want %s", name, got.Code, tc.code)
		}
	}
	if From(nil) != nil {
		t.Error("nil became a fault")
	}
	if ClassOf("SomethingNew") != Dirty {
		t.Error("an unknown code must be Dirty: nothing is known about what it left behind")
	}
}
