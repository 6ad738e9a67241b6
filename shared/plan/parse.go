package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SizeLimit is the most bytes a plan may have.
const SizeLimit = 256 << 10

// Parse reads one plan strictly and reports every mistake at once; name is the file's name in the problems. The plan is
// as written: without defaults (see WithDefaults). It is nil when there is a problem.
func Parse(name string, data []byte) (*Plan, Problems) {
	d := newDecoder()
	p := d.document(data)
	if p != nil {
		c := &checker{plan: p, marks: d.marks, bad: d.bad, problems: d.problems}
		c.check()
		d.problems = c.problems
	}
	if len(d.problems) == 0 {
		return p, nil
	}
	for i := range d.problems {
		d.problems[i].File = name
	}
	return nil, d.problems.sorted()
}

// document parses the text and fills a plan from its only document; nil when there is nothing to fill it from.
func (d *decoder) document(data []byte) *Plan {
	whole := func(line int, message, expected string) *Plan {
		d.problems = append(d.problems, Problem{Line: line, Column: min(line, 1), Message: message, Expected: expected})
		return nil
	}
	if len(data) > SizeLimit {
		return whole(0, fmt.Sprintf("the plan has %d bytes", len(data)), fmt.Sprintf("at most %d", SizeLimit))
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return whole(1, "the plan is empty", "a document with apiVersion, kind, metadata and spec")
	case err != nil:
		line, message := syntax(err)
		return whole(line, "is not YAML: "+message, "")
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		return whole(max(second.Line, 1), "the file has more than one document", "one plan in a file")
	case !errors.Is(err, io.EOF):
		line, message := syntax(err)
		return whole(line, "is not YAML: "+message, "")
	}
	if len(doc.Content) != 1 || (doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].ShortTag() == "!!null") {
		return whole(1, "the plan is empty", "a document with apiVersion, kind, metadata and spec")
	}
	p := &Plan{}
	d.decode(doc.Content[0], reflect.ValueOf(p).Elem(), "")
	if d.bad[""] || d.visited > nodeLimit {
		return nil
	}
	return p
}

var syntaxLine = regexp.MustCompile(`line (\d+): `)

// syntax takes the line out of a YAML error's text; the library has it nowhere else.
func syntax(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = strings.Replace(message, m[0], "", 1)
	}
	return line, message
}

// Load reads the plan in a file, fills in the defaults and makes its paths absolute. A plan with mistakes is an error of type
// Problems.
func Load(path string) (*Plan, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	p, problems := Parse(path, data)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", path, err)
	}
	p = p.WithDefaults()
	p.Absolute(filepath.Dir(abs))
	return p, nil
}

// Read reads a plan's bytes, for Parse and Digest.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, SizeLimit+1))
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", path, err)
	}
	return data, nil
}

// Digest is "sha256:<hex>" of a plan's bytes.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Absolute makes the plan's relative paths relative to dir, the directory that the plan is in.
func (p *Plan) Absolute(dir string) {
	fix := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) && !strings.HasPrefix(*path, "s3://") {
			*path = filepath.Join(dir, *path)
		}
	}
	if k := p.Spec.Cluster.Kubeconfig; k != nil {
		fix(&k.Path)
	}
	if i := p.Spec.Inventory; i != nil && i.Manifests != nil {
		fix(&i.Manifests.Path)
	}
	if i := p.Spec.Inventory; i != nil && i.Velero != nil {
		fix(&i.Velero.CredentialsFile)
		if k := &i.Velero.Integrity.Key; !strings.HasPrefix(*k, "arn:") {
			fix(k)
		}
	}
}
