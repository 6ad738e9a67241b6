// Package graphcmd is `fallback graph`: it proves the graph's invariants and shows the picture.
package graphcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/mermaid"
	"fallbackchain.io/fallback/statemachine/prove"
)

// New returns the command.
func New() *cobra.Command {
	cmd := &cobra.Command{Use: "graph", Short: "Prove and show the graph that every run follows"}
	cmd.AddCommand(newProve(), newShow())
	return cmd
}

func newProve() *cobra.Command {
	var root, output string
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Check every invariant of the graph; a failure shows a path that breaks it",
		Long: "Check every invariant of the graph on the product of its states, the outcomes of its tasks and its modes.\n" +
			"In a checkout of the project, functions/ and template.yaml are compared with the graph too.",
		Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, compared, err := input(chain.Fallback(), root)
			if err != nil {
				return err
			}
			report, err := prove.Prove(in)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				err = printJSON(cmd.OutOrStdout(), report)
			case "text":
				err = printText(cmd.OutOrStdout(), report, compared, in.Graph)
			default:
				return fmt.Errorf("--output %q is neither text nor json", output)
			}
			if err == nil && !report.OK() {
				err = errors.New("the graph does not hold")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root", ".", "directory of the project's checkout, to compare functions/ and template.yaml")
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
	return cmd
}

// input is what the real graph is proved with. compared tells which other sides there were.
func input(g *graph.Graph, root string) (in prove.Input, compared []string, err error) {
	in = prove.Input{Graph: g, Codes: codes()}
	m, err := g.Expand()
	if err != nil {
		return in, nil, err
	}
	dirs, err := functionDirs(root)
	if err != nil {
		return in, nil, err
	}
	if dirs == nil {
		in.Functions = append(m.Functions(), m.Outside...)
		return in, nil, nil
	}
	in.Functions, compared = dirs, append(compared, "functions/")
	in.Template, err = templateFunctions(root, m)
	if in.Template != nil {
		compared = append(compared, "template.yaml")
	}
	return in, compared, err
}

// codes are the fault codes there are, whatever the graph says of them.
func codes() graph.Classes {
	list := func(k fault.Class) (out []string) {
		for _, c := range fault.Codes(k) {
			out = append(out, string(c))
		}
		return out
	}
	return graph.Classes{Retry: list(fault.Retry), Demote: list(fault.Demote), Rollback: list(fault.Rollback), Abort: list(fault.Abort), Dirty: list(fault.Dirty)}
}

func printText(out io.Writer, r prove.Report, compared []string, g *graph.Graph) error {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s: %d states, %d configurations, %d transitions\n", r.Graph, r.States, r.Configs, r.Edges)
	for _, v := range r.Verdicts {
		word := "ok"
		if len(v.Failures) > 0 {
			word = "BROKEN"
		}
		fmt.Fprintf(&b, "%2d %-24s %-6s  %s\n", v.Number, v.Name, word, v.Says)
		for _, f := range v.Failures {
			fmt.Fprintf(&b, "      %s\n", f)
		}
	}
	fmt.Fprintf(&b, "worst path %s of %s; worst history %d of %d events\n", r.Worst.Time, g.Timing.Machine, r.Worst.Events, prove.MaxEvents)
	if len(compared) == 0 {
		fmt.Fprintln(&b, "functions/ and template.yaml are not here and were not compared (--root)")
	} else {
		fmt.Fprintf(&b, "compared with %s\n", strings.Join(compared, " and "))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// verdict is a line of the JSON output.
type verdict struct {
	Number   int             `json:"number"`
	Name     string          `json:"name"`
	Says     string          `json:"says"`
	OK       bool            `json:"ok"`
	Failures []prove.Failure `json:"failures,omitempty"`
}

func printJSON(out io.Writer, r prove.Report) error {
	doc := struct {
		Graph    string    `json:"graph"`
		OK       bool      `json:"ok"`
		States   int       `json:"states"`
		Configs  int       `json:"configurations"`
		Edges    int       `json:"transitions"`
		Worst    string    `json:"worstPath"`
		Events   int       `json:"worstHistory"`
		Verdicts []verdict `json:"verdicts"`
	}{r.Graph, r.OK(), r.States, r.Configs, r.Edges, r.Worst.Time.String(), r.Worst.Events, nil}
	for _, v := range r.Verdicts {
		doc.Verdicts = append(doc.Verdicts, verdict{v.Number, v.Name, v.Says, len(v.Failures) == 0, v.Failures})
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

func newShow() *cobra.Command {
	var mode, format string
	var expanded bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the graph as a Mermaid flowchart, as the Step Functions definition, or as a table",
		Args:  cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g := chain.Fallback()
			var data []byte
			var err error
			switch format {
			case "mermaid":
				data, err = mermaid.Render(g, mermaid.Options{Mode: mode, Expanded: expanded})
			case "asl":
				if mode != "" {
					return errors.New("--mode: the definition is one for all modes; leave it out with --format asl")
				}
				data, err = asl.Render(g)
			case "text":
				data, err = table(g, mode)
			default:
				return fmt.Errorf("--format %q is none of mermaid, asl, text", format)
			}
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "only what runs of this mode can reach: "+strings.Join(chain.Fallback().Modes, ", "))
	cmd.Flags().StringVar(&format, "format", "mermaid", "mermaid, asl or text")
	cmd.Flags().BoolVar(&expanded, "expanded", false, "every plain state instead of the picture (mermaid)")
	return cmd
}

// table lists the nodes of the picture, one a line, with where each leads.
func table(g *graph.Graph, mode string) ([]byte, error) {
	arrows, err := mermaid.Arrows(g, mermaid.Options{Mode: mode})
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tKIND\tCALLS\tWAITS AT MOST\tLEADS TO")
	for _, a := range arrows {
		var kind, call, budget string
		if n := g.Node(a.State); n != nil {
			kind, call, budget = string(n.Kind), n.Call, n.Budget+n.WaitBudget
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.State, kind, call, budget, strings.Join(a.To, "; "))
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
