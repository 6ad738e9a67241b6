package binaries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Deployed is the architecture that the template deploys.
const Deployed = "arm64"

// Bench measures and prints everything: sizes of what is deployed, and, for this machine's architecture, how it starts. update writes the
// baseline for both; else a binary that has outgrown it is an error.
func Bench(ctx context.Context, out io.Writer, update bool) error {
	deployed, err := Build(ctx, Deployed)
	if err != nil {
		return err
	}
	native, err := Build(ctx, runtime.GOARCH)
	if err != nil {
		return err
	}
	sizes := map[string]map[string]int64{}
	for arch, files := range map[string]map[string]string{Deployed: deployed, runtime.GOARCH: native} {
		if sizes[arch], err = Sizes(files); err != nil {
			return err
		}
	}
	if err := table(ctx, out, sizes[Deployed], deployed, native); err != nil {
		return err
	}
	if update {
		return Baseline(sizes).Write()
	}
	baseline, err := Read()
	if err != nil {
		return err
	}
	var grown []string
	for _, arch := range slices.Sorted(maps.Keys(sizes)) {
		grown = append(grown, baseline.Grown(arch, sizes[arch])...)
	}
	if len(grown) > 0 {
		return errors.New(strings.Join(grown, "\n"))
	}
	return nil
}

// table prints a line a function; × is against the bare one.
func table(ctx context.Context, out io.Writer, sizes map[string]int64, deployed, native map[string]string) error {
	type row struct {
		size, zip float64
		Start
	}
	rows := map[string]row{}
	for name, file := range deployed {
		z, err := zipped(file)
		if err != nil {
			return err
		}
		s, err := Measure(ctx, native[name])
		if err != nil {
			return err
		}
		rows[name] = row{float64(sizes[name]), float64(z), s}
	}
	bare := rows[Bare]
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "FUNCTION\tBINARY (%s)\t×\tZIP (%s)\t×\tINIT (%s)\t×\tMAX RSS\t×\t\n", Deployed, Deployed, runtime.GOARCH)
	for _, name := range slices.SortedFunc(maps.Keys(rows), func(a, b string) int { return int(rows[a].size - rows[b].size) }) {
		r := rows[name]
		fmt.Fprintf(w, "%s\t%.1f MB\t%.1f\t%.1f MB\t%.1f\t%s\t%.1f\t%.1f MiB\t%.1f\t\n", strings.TrimSuffix(name, "Function"), r.size/1e6, r.size/bare.size, r.zip/1e6, r.zip/bare.zip,
			r.Init.Round(100*time.Microsecond), float64(r.Init)/float64(bare.Init), float64(r.MaxRSS)/(1<<20), float64(r.MaxRSS)/float64(bare.MaxRSS))
	}
	return w.Flush()
}
