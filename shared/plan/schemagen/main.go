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

func run(dir string, check bool) error {
	source, err := os.ReadFile(filepath.Join(dir, "types.go"))
	if err != nil {
		return fmt.Errorf("%w; run it from the root of the repository, or say -dir", err)
	}
	want, err := generate(source)
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
