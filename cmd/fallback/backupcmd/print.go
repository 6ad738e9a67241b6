package backupcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// print shows a verdict: what it is, what was found, the volumes.
func (f *common) print(r report) error {
	if f.output == "json" {
		return writeJSON(f.out, r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s/backups/%s: %s (%s)\n", mark(string(r.Status)), strings.TrimSuffix(r.Location, "/"), or(r.Name, "-"), r.Status, r.Reason)
	if r.Message != "" {
		fmt.Fprintf(&b, "   %s\n", r.Message)
	}
	if r.CompletedAt != nil {
		fmt.Fprintf(&b, "   completed %s, %d objects, %d volumes, %s, integrity %s\n", r.CompletedAt.UTC().Format(time.RFC3339), r.Objects, len(r.Volumes), size(r.Bytes), r.Integrity)
	}
	for _, p := range r.Passed {
		fmt.Fprintf(&b, "   passed over %s\n", p)
	}
	if len(r.Findings) > 0 {
		b.WriteByte('\n')
		findings(&b, r.Findings)
	}
	if len(r.Volumes) > 0 {
		b.WriteByte('\n')
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "CLAIM\tMETHOD\tDRIVER\tSIZE\tHANDLE")
		for _, v := range r.Volumes {
			fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\n", v.Namespace, v.Claim, v.Method, or(v.Driver, "-"), or(v.Size, "-"), or(v.Handle, "-"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(f.out, b.String())
	return err
}

// findings prints one table row for each, and below it what it means.
func findings(b *strings.Builder, list []run.Finding) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SEVERITY\tOBJECT\tFINDING\tWHAT IT MEANS FOR A RESTORE")
	for _, x := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", x.Severity, line(x.Subject), line(x.Problem), line(or(x.Means, "-")))
	}
	_ = w.Flush() // into memory
}

// line keeps a text on one line of a table.
func line(s string) string { return strings.Join(strings.Fields(s), " ") }

func mark(status string) string {
	switch status {
	case "True":
		return "✓"
	case "False":
		return "✗"
	}
	return "?"
}

func size(bytes int64) string {
	for _, u := range []struct {
		n    int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= u.n {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}
