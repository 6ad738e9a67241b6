package rights

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

const recordedHeader = "# The rights of template.yaml that the functions used against the emulator, each by a call. Written by\n# go test ./infra/aws/machine -update-rights\n"

// Recorded reads the file of used rights.
func Recorded(path string) ([]Right, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Right
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := ParseRight(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Record writes the file of used rights.
func Record(path string, used []Right) error {
	text := recordedHeader
	for _, r := range used {
		text += r.String() + "\n"
	}
	return os.WriteFile(path, []byte(text), 0o644)
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
