// Package recorded keeps, a line each, what tests saw used (a function's rights, so far), and holds it against what they use now: what is new is
// not recorded, and what is not used any more is stale, for nobody removes by hand what a machine wrote down.
package recorded

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// mark begins the comment of a line that not every run uses; why follows.
const mark = "sometimes:"

// Record are the lines by what they stand for. The text says why only some runs use it: a race, or a cluster that is slow; "" for what each
// full run uses.
type Record[R comparable] map[R]string

// Read reads lines, each as parse reads it and with a comment if it is used sometimes only; lines of comments are left out.
func Read[R comparable](in io.Reader, parse func(string) (R, error)) (Record[R], error) {
	out := Record[R]{}
	for sc := bufio.NewScanner(in); ; {
		if !sc.Scan() {
			return out, sc.Err()
		}
		line, comment, commented := strings.Cut(sc.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		r, err := parse(line)
		if err != nil {
			return nil, err
		}
		if _, twice := out[r]; twice {
			return nil, fmt.Errorf("%q is recorded twice", line)
		}
		out[r] = ""
		if commented {
			why, ok := strings.CutPrefix(strings.TrimSpace(comment), mark)
			if out[r] = strings.TrimSpace(why); !ok || out[r] == "" {
				return nil, fmt.Errorf("%q has the comment %q: expected %q and why no run is sure to use it", line, comment, mark)
			}
		}
	}
}

// Write writes what Read reads, in the order of compare.
func (rec Record[R]) Write(out io.Writer, compare func(a, b R) int) error {
	for _, r := range rec.Lines(compare) {
		line := fmt.Sprint(r)
		if why := rec[r]; why != "" {
			line += "  # " + mark + " " + why
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// Lines are what is recorded, marked or not.
func (rec Record[R]) Lines(compare func(a, b R) int) []R {
	return slices.SortedFunc(maps.Keys(rec), compare)
}

// Stale is what a full run would have used, and did not.
func (rec Record[R]) Stale(used []R, compare func(a, b R) int) []R {
	return slices.DeleteFunc(rec.Lines(compare), func(r R) bool { return rec[r] != "" || slices.Contains(used, r) })
}

// Updated is the record with what was used, and, after a full run, without what is stale. Marks stay.
func (rec Record[R]) Updated(used []R, full bool) Record[R] {
	out := Record[R]{}
	for r, why := range rec {
		if !full || why != "" || slices.Contains(used, r) {
			out[r] = why
		}
	}
	for _, r := range used {
		out[r] = rec[r]
	}
	return out
}

// Partial says why a test binary with these flags does not use everything, "" for a full run: every test of its package is run, once or
// more, and as long as it takes (https://pkg.go.dev/cmd/go#hdr-Testing_flags). That the tests passed is for the caller to know.
func Partial(flags *flag.FlagSet) string {
	for _, f := range []struct{ name, full string }{{"run", ""}, {"skip", ""}, {"list", ""}, {"fuzz", ""}, {"short", "false"}} {
		have := flags.Lookup("test." + f.name)
		if have == nil {
			return "there is no flag -test." + f.name + ": this is no test binary"
		}
		if v := have.Value.String(); v != f.full {
			return fmt.Sprintf("-%s is %s", f.name, v)
		}
	}
	if n := flags.Lookup("test.count"); n == nil || n.Value.String() == "0" {
		return "-count is 0"
	}
	return ""
}
