package rights

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"fallbackchain.io/fallback/infra/recorded"
)

const recordedHeader = "# The rights of template.yaml that the functions used against the emulator, each by a call. Written by\n# go test ./infra/aws/machine -update-rights\n"

// Compare orders rights as the recorded file has them.
func Compare(a, b Right) int { return strings.Compare(a.String(), b.String()) }

// Recorded reads the file of used rights.
func Recorded(path string) (recorded.Record[Right], error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rec, err := recorded.Read(bytes.NewReader(data), ParseRight)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rec, nil
}

// Record writes the file of used rights.
func Record(path string, used recorded.Record[Right]) error {
	text := bytes.NewBufferString(recordedHeader)
	if err := used.Write(text, Compare); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// Minus are the rights that are in a and not in b.
func Minus(a, b []Right) (out []Right) {
	for _, r := range a {
		if !slices.Contains(b, r) {
			out = append(out, r)
		}
	}
	return out
}
