package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
)

// generate reflects the plan's types into a schema; sources are the files with the types, for the descriptions. The same
// input gives the same bytes.
func generate(sources [][]byte) ([]byte, error) {
	docs := map[string]string{}
	for _, source := range sources {
		if err := comments(docs, source); err != nil {
			return nil, err
		}
	}
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, DoNotReference: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[plan.Duration]() {
				return &jsonschema.Schema{Type: "string", Pattern: plan.DurationPattern}
			}
			return nil
		},
		LookupComment: func(t reflect.Type, field string) string {
			if field == "" {
				return docs[t.Name()]
			}
			if d := docs[t.Name()+"."+field]; d != "" {
				return d
			}
			return docs[typeName(t, field)]
		},
	}
	s := r.Reflect(&plan.Plan{})
	s.ID = "https://fallbackchain.io/schemas/v1alpha1/fallbackplan.json"
	s.Title = plan.Kind
	seen := map[string]bool{}
	walk(s, "", func(path string, at *jsonschema.Schema) {
		seen[path] = true
		refine(path, at)
	})
	for path := range rules() {
		if !seen[path] {
			return nil, fmt.Errorf("a rule is for %s, which is no field of a plan", path)
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// typeName is the name of a field's type, behind its pointer or list.
func typeName(t reflect.Type, field string) string {
	f, ok := t.FieldByName(field)
	if !ok {
		return ""
	}
	u := f.Type
	for u.Kind() == reflect.Pointer || u.Kind() == reflect.Slice {
		u = u.Elem()
	}
	if u.Kind() != reflect.Struct {
		return ""
	}
	return u.Name()
}

// walk visits every field; the items of a list have the path "list[]".
func walk(s *jsonschema.Schema, path string, visit func(string, *jsonschema.Schema)) {
	visit(path, s)
	if s.Items != nil {
		walk(s.Items, path+"[]", visit)
	}
	if s.Properties == nil {
		return
	}
	for name, p := range s.Properties.FromOldest() {
		at := name
		if path != "" {
			at = path + "." + name
		}
		walk(p, at, visit)
	}
}

// refine adds what the Go types cannot say. It is never stricter than the parser.
func refine(path string, s *jsonschema.Schema) {
	one := uint64(1)
	switch {
	case s.Type == "string" && path != "spec.workload.database.queries[].expect.equals":
		s.MinLength = &one
	case s.Type == "array":
		s.MinItems = &one
	}
	if l, ok := limits.Get(path); ok {
		said := fmt.Sprintf("%s to %s", plan.Duration(l.Min), plan.Duration(l.Cap))
		if l.Default != 0 {
			s.Default = plan.Duration(l.Default).String()
			said += ", default " + plan.Duration(l.Default).String()
		}
		s.Description = strings.TrimSpace(s.Description + " (" + said + ")")
	}
	if rule, ok := rules()[path]; ok {
		rule(s)
	}
}

// comments adds "Type" and "Type.Field" with what their comments say, in one line.
func comments(docs map[string]string, source []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			docs[t.Name.Name] = text(g.Doc, t.Doc)
			st, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range st.Fields.List {
				for _, n := range f.Names {
					docs[t.Name.Name+"."+n.Name] = text(f.Doc, f.Comment)
				}
			}
		}
	}
	return nil
}

func text(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if t := strings.Join(strings.Fields(g.Text()), " "); t != "" {
			return t
		}
	}
	return ""
}
