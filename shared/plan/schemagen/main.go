// Command schemagen writes the JSON Schema of a plan from the Go types and their comments. With -check it writes nothing
// and fails when the file is not what it would write.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("dir", "shared/plan", "directory of the package plan")
	check := flag.Bool("check", false, "only compare")
	flag.Parse()
	if err := run(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

// schemaFile is the generated file in the package's directory.
const schemaFile = "fallbackplan.schema.json"

// sourceFiles hold the plan's types.
const sourceFiles = "types*.go"

// read returns the files with the plan's types.
func read(dir string) ([][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, sourceFiles))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no %s in %s; run it from the root of the repository, or say -dir", sourceFiles, dir)
	}
	var out [][]byte
	for _, p := range paths {
		source, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, source)
	}
	return out, nil
}

func run(dir string, check bool) error {
	sources, err := read(dir)
	if err != nil {
		return err
	}
	want, err := generate(sources)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, schemaFile)
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch {
	case bytes.Equal(have, want):
		return nil
	case check:
		return fmt.Errorf("%s is not what the types say; run make generate", path)
	default:
		return os.WriteFile(path, want, 0o644)
	}
}
