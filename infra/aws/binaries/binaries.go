// Package binaries measures the functions as they are deployed: sizes, init time and memory, beside a bare aws-lambda-go function, and holds
// the sizes against the committed baseline.
package binaries

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"fallbackchain.io/fallback/shared/awstest"
)

// Bare is the bare function's name in every table.
const Bare = "bare"

// tolerance is by how much a binary may outgrow its baseline.
const tolerance = 0.02

// Baseline is the committed size of every binary, in bytes, by architecture and by name.
type Baseline map[string]map[string]int64

func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

func baselineFile() string { return filepath.Join(here(), "baseline.json") }

// Read reads the baseline.
func Read() (Baseline, error) {
	var b Baseline
	text, err := os.ReadFile(baselineFile())
	if err != nil {
		return nil, err
	}
	return b, json.Unmarshal(text, &b)
}

// Write replaces the baseline.
func (b Baseline) Write() error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(baselineFile(), append(text, '\n'), 0o600)
}

// Grown lists the binaries that are larger than the baseline allows, or have none; and the functions of the baseline that are not there.
func (b Baseline) Grown(arch string, sizes map[string]int64) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		was, ok := b[arch][name]
		switch now := sizes[name]; {
		case !ok:
			out = append(out, fmt.Sprintf("%s has no size for %s in the baseline: write it with -update", name, arch))
		case float64(now) > float64(was)*(1+tolerance):
			out = append(out, fmt.Sprintf("%s for %s has %d bytes, %.1f %% more than the %d of the baseline: expected at most %.0f %% more; find what links more (go tool nm -size -sort size), or write the baseline with -update and say why",
				name, arch, now, 100*(float64(now)/float64(was)-1), was, 100*tolerance))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b[arch])) {
		if _, ok := sizes[name]; !ok {
			out = append(out, fmt.Sprintf("%s is in the baseline for %s and was not built", name, arch))
		}
	}
	return out
}

// Build builds every function, and the bare one with the same flags; it returns the files by their names in the template, and Bare.
func Build(ctx context.Context, arch string) (map[string]string, error) {
	files, err := awstest.Build(ctx, arch)
	if err != nil {
		return nil, err
	}
	bare := filepath.Join(here(), "..", "..", "..", "build", "bootstraps", arch, Bare)
	// The Makefile's LAMBDA_FLAGS.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -buildid=", "-o", bare, "./bare")
	cmd.Dir, cmd.Env = here(), append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the bare function: %w\n%s", err, said)
	}
	files[Bare] = bare
	return files, nil
}

// Sizes are the files' sizes.
func Sizes(files map[string]string) (map[string]int64, error) {
	out := map[string]int64{}
	for name, file := range files {
		s, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		out[name] = s.Size()
	}
	return out, nil
}

// zipped is the size of the archive that is uploaded.
func zipped(file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var n counter
	z := zip.NewWriter(&n)
	w, err := z.Create("bootstrap")
	if err == nil {
		_, err = io.Copy(w, f)
	}
	if err == nil {
		err = z.Close()
	}
	return int64(n), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
