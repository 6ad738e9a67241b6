// Command generate writes what is derived from the graph: the Step Functions definition and the diagrams. With -check it
// writes nothing and fails when a file differs.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/mermaid"
)

func main() {
	if err := generate(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// file is one derived file.
type file struct {
	name string
	data []byte
}

func generate(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	check := flags.Bool("check", false, "write nothing; fail when a file differs")
	dir := flags.String("dir", "statemachine", "the directory to write to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files, err := render()
	if err != nil {
		return err
	}
	var differs []error
	for _, f := range files {
		path := filepath.Join(*dir, f.name)
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if bytes.Equal(have, f.data) {
			continue
		}
		if *check {
			differs = append(differs, fmt.Errorf("%s is not what the graph says; run make generate", path))
			continue
		}
		if err := os.WriteFile(path, f.data, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(out, "wrote", path)
	}
	return errors.Join(differs...)
}

// render makes every derived file.
func render() ([]file, error) {
	g := chain.Fallback()
	definition, err := asl.Render(g)
	if err != nil {
		return nil, err
	}
	files := []file{{g.Name + ".asl.json", definition}}
	draw := func(name string, o mermaid.Options) error {
		data, err := mermaid.Render(chain.Fallback(), o)
		files = append(files, file{name, data})
		return err
	}
	if err := errors.Join(draw(g.Name+".mmd", mermaid.Options{}), draw(g.Name+"-states.mmd", mermaid.Options{Expanded: true})); err != nil {
		return nil, err
	}
	for _, mode := range g.Modes {
		if err := draw(g.Name+"-"+mode+".mmd", mermaid.Options{Mode: mode}); err != nil {
			return nil, err
		}
	}
	return files, nil
}
