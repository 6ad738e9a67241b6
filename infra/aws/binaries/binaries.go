// Package binaries measures the functions as they are deployed: sizes, init time and memory, beside a bare aws-lambda-go function, and holds
// all four against the committed baseline.
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
	"strconv"

	"fallbackchain.io/fallback/shared/awstest"
)

// Bare is the bare function's name in every table.
const Bare = "bare"

// Baseline is what is committed: by architecture, by function, by figure.
type Baseline map[string]map[string]Figures

// Figures are what is held of one function, by the figures' names.
type Figures map[string]float64

// The figures. Sizes are in bytes, and the same source gives the same ones; a start is held as a ratio to the bare function's in the same
// run, because machines differ.
const (
	binarySize = "binary"
	zipSize    = "zip"
	initRatio  = "init"
	rssRatio   = "rss"
)

// limit is how much worse than its baseline a figure may be.
type limit struct {
	figure, unit string
	// tolerance is the factor on the baseline.
	tolerance float64
	// bar holds where the baseline is under it; 0: none. What is over it may only not get worse. noise is the factor by which one run
	// differs from another: within it, a figure over the bar is not told from one under it.
	bar, noise float64
	// find is how to find the cause.
	find string
}

var (
	// sizes: 2 % is what an update of the toolchain or of a dependency adds.
	sizes = []limit{
		{figure: binarySize, unit: "bytes", tolerance: 1.02, find: "go tool nm -size -sort size shows what links more"},
		{figure: zipSize, unit: "bytes", tolerance: 1.02, find: "go tool nm -size -sort size shows what links more"},
	}
	// nativeSizes: an archive for this machine is uploaded nowhere.
	nativeSizes = sizes[:1]
	// startRatios: with two cores, the fastest of 21 starts was 4.7 to 9.7 times the bare function's fastest, and one function's ratio differed
	// by up to 1.45 between runs, with two busy loops beside them as without; the medians' ratios doubled beside those. Twice the
	// baseline is what a busy machine stays under. The ratio of the memory's medians differed by 2 %.
	startRatios = []limit{
		{figure: initRatio, unit: "times the bare function's", tolerance: 2, bar: 5, noise: 1.5, find: "GODEBUG=inittrace=1 shows what the packages do"},
		{figure: rssRatio, unit: "times the bare function's", tolerance: 1.1, bar: 4, noise: 1, find: "GODEBUG=inittrace=1 shows what the packages allocate"},
	}
)

// most is the highest that the limit allows, and what says so.
func (l limit) most(was float64) (float64, string) {
	if allowed := was * l.tolerance; l.bar == 0 || was > l.bar || allowed < l.bar*l.noise {
		return allowed, fmt.Sprintf("%.0f %% more than the baseline's", 100*(l.tolerance-1))
	}
	if l.noise == 1 {
		return l.bar, "the bar"
	}
	return l.bar * l.noise, fmt.Sprintf("the bar of %g and %.0f %% of noise", l.bar, 100*(l.noise-1))
}

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

const update = "go run ./infra/aws/binaries/measure -update"

// Compare holds what was measured of an architecture's functions against the baseline. worse is what the limits do not allow, a function
// that one of the two does not have, and a figure that one does not have. better is by how much the baseline can be lowered.
func (b Baseline) Compare(arch string, measured map[string]Figures, limits ...limit) (worse, better []string) {
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		if _, ok := b[arch][name]; !ok {
			worse = append(worse, fmt.Sprintf("%s is not in the baseline for %s: %s writes it", name, arch, update))
			continue
		}
		for _, l := range limits {
			was, now := b[arch][name][l.figure], measured[name][l.figure]
			most, by := l.most(was)
			switch what := fmt.Sprintf("%s of %s for %s", l.figure, name, arch); {
			case was <= 0:
				worse = append(worse, fmt.Sprintf("%s is not in the baseline: %s writes it", what, update))
			case now <= 0:
				worse = append(worse, fmt.Sprintf("%s was not measured", what))
			case now > most:
				worse = append(worse, fmt.Sprintf("%s is %s %s, the baseline's is %s: expected at most %s, %s; %s; or %s, and say why",
					what, short(now), l.unit, short(was), short(most), by, l.find, update))
			case now*l.tolerance < was:
				better = append(better, fmt.Sprintf("%s is %s %s, the baseline's is %s: it can be lowered with %s", what, short(now), l.unit, short(was), update))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b[arch])) {
		if _, ok := measured[name]; !ok {
			worse = append(worse, fmt.Sprintf("%s is in the baseline for %s and was not built", name, arch))
		}
	}
	return worse, better
}

// short is a number of bytes, or a ratio.
func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
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

// sizesOf are the sizes of files by name. Only what is deployed is uploaded: the sizes of archives are wanted of it alone.
func sizesOf(files map[string]string, zips bool) (map[string]Figures, error) {
	out := map[string]Figures{}
	for name, file := range files {
		s, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		out[name] = Figures{binarySize: float64(s.Size())}
		if !zips {
			continue
		}
		z, err := zipped(file)
		if err != nil {
			return nil, err
		}
		out[name][zipSize] = float64(z)
	}
	return out, nil
}

// zipped is the size of the archive that is uploaded: no time is in it, so that the same program gives the same size.
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
