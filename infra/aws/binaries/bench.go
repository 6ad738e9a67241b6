package binaries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Deployed is the architecture that the template deploys.
const Deployed = "arm64"

// Bench measures and prints everything: sizes of what is deployed, and, for this machine's architecture, how it starts. update writes the
// baseline for both; else what is worse than it is an error.
func Bench(ctx context.Context, out io.Writer, update bool) error {
	deployed, err := Build(ctx, Deployed)
	if err != nil {
		return err
	}
	native, err := Build(ctx, runtime.GOARCH)
	if err != nil {
		return err
	}
	now := Baseline{}
	if now[runtime.GOARCH], err = sizesOf(native, false); err != nil {
		return err
	}
	if now[Deployed], err = sizesOf(deployed, true); err != nil {
		return err
	}
	began, err := Measure(ctx, native)
	if err != nil {
		return err
	}
	for name, s := range began {
		f := now[runtime.GOARCH][name]
		f[initRatio] = rounded(float64(s.Init)/float64(began[Bare].Init), 10)
		f[rssRatio] = rounded(float64(s.MaxRSS)/float64(began[Bare].MaxRSS), 100)
	}
	if err := table(out, now, began); err != nil {
		return err
	}
	baseline, err := Read()
	if err != nil {
		return err
	}
	if update {
		return baseline.updated(now).Write()
	}
	return errors.Join(
		baseline.holds(out, Deployed, now[Deployed], sizes),
		baseline.holds(out, runtime.GOARCH, now[runtime.GOARCH], slices.Concat(nativeSizes, startRatios)))
}

// Sizes holds the sizes of programs for Deployed that are built already, dir/<function>/bootstrap each, as sam build and `make functions`
// name them; the bare function is not among them.
func Sizes(out io.Writer, dir string) error {
	baseline, err := Read()
	if err != nil {
		return err
	}
	return baseline.sizesIn(out, dir)
}

func (b Baseline) sizesIn(out io.Writer, dir string) error {
	built, err := filepath.Glob(filepath.Join(dir, "*", "bootstrap"))
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, f := range built {
		name := filepath.Base(filepath.Dir(f))
		if !strings.HasSuffix(name, "Function") {
			name = strings.ToUpper(name[:1]) + name[1:] + "Function"
		}
		files[name] = f
	}
	measured, err := sizesOf(files, true)
	if err != nil {
		return err
	}
	functions := maps.Clone(b[Deployed])
	delete(functions, Bare)
	return Baseline{Deployed: functions}.holds(out, Deployed, measured, sizes)
}

// holds prints what is better than the baseline; what is worse is an error.
func (b Baseline) holds(out io.Writer, arch string, measured map[string]Figures, limits []limit) error {
	worse, better := b.Compare(arch, measured, limits...)
	for _, s := range better {
		fmt.Fprintln(out, s)
	}
	if len(worse) > 0 {
		return errors.New(strings.Join(worse, "\n"))
	}
	return nil
}

// updated is the baseline with what was measured: figures of another machine's architecture stay, functions that are gone do not.
func (b Baseline) updated(measured Baseline) Baseline {
	out := Baseline{}
	maps.Copy(out, b)
	for arch, functions := range measured {
		of := map[string]Figures{}
		for name, f := range functions {
			of[name] = Figures{}
			maps.Copy(of[name], b[arch][name])
			maps.Copy(of[name], f)
		}
		out[arch] = of
	}
	return out
}

// rounded keeps a baseline's lines as they are where nothing that matters changed.
func rounded(v, parts float64) float64 { return math.Round(v*parts) / parts }

// table prints a line a function; × is against the bare one.
func table(out io.Writer, now Baseline, began map[string]Start) error {
	deployed, native := now[Deployed], now[runtime.GOARCH]
	times := func(name, figure string) float64 { return deployed[name][figure] / deployed[Bare][figure] }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "FUNCTION\tBINARY (%s)\t×\tZIP (%s)\t×\tINIT (%s)\t×\tMAX RSS\t×\t\n", Deployed, Deployed, runtime.GOARCH)
	for _, name := range slices.SortedFunc(maps.Keys(deployed), func(a, b string) int { return int(deployed[a][binarySize] - deployed[b][binarySize]) }) {
		f, s := deployed[name], began[name]
		fmt.Fprintf(w, "%s\t%.1f MB\t%.1f\t%.1f MB\t%.1f\t%s\t%.1f\t%.1f MiB\t%.2f\t\n", strings.TrimSuffix(name, "Function"),
			f[binarySize]/1e6, times(name, binarySize), f[zipSize]/1e6, times(name, zipSize),
			s.Init.Round(100*time.Microsecond), native[name][initRatio], float64(s.MaxRSS)/(1<<20), native[name][rssRatio])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// A bar that the baseline is over holds nothing: it is not forgotten.
	for _, l := range startRatios {
		if over := l.over(native); len(over) > 0 {
			fmt.Fprintf(out, "%s: the bar is %g times the bare function's; over it, and held to the baseline only: %s\n", l.figure, l.bar, strings.Join(over, ", "))
		}
	}
	return nil
}

// over are the functions that are over the limit's bar.
func (l limit) over(measured map[string]Figures) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		if measured[name][l.figure] > l.bar {
			out = append(out, strings.TrimSuffix(name, "Function"))
		}
	}
	return out
}
