// Package plancmd is the command "fallback plan": validate, init, schema.
package plancmd

import (
	"encoding/json"
	"fmt"
	"io"
	_ "time/tzdata" // a plan's time zone is checked against the same list on every machine

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/shared/plan"
)

// New returns the command.
func New() *cobra.Command {
	c := &cobra.Command{Use: "plan", Short: "Checks and writes plans"}
	c.AddCommand(validateCommand(), initCommand(), schemaCommand())
	return c
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Prints the JSON Schema of a plan, for editors", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(plan.Schema())
			return err
		},
	}
}

func validateCommand() *cobra.Command {
	var file, output string
	c := &cobra.Command{
		Use: "validate", Short: "Reports every mistake of a plan", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: expected text or json", output)
			}
			return validate(c.InOrStdin(), c.OutOrStdout(), file, output)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the plan, - for standard input")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cobra.CheckErr(c.MarkFlagRequired("file"))
	return c
}

// verdict is what validate prints as JSON.
type verdict struct {
	File     string        `json:"file"`
	Valid    bool          `json:"valid"`
	Name     string        `json:"name,omitempty"`
	Digest   string        `json:"digest"`
	Problems plan.Problems `json:"problems"`
}

func validate(in io.Reader, out io.Writer, file, output string) error {
	data, err := read(in, file)
	if err != nil {
		return err
	}
	p, problems := plan.Parse(file, data)
	v := verdict{File: file, Valid: len(problems) == 0, Digest: plan.Digest(data), Problems: problems}
	if p != nil {
		v.Name = p.Metadata.Name
	}
	if output == "json" {
		if v.Problems == nil {
			v.Problems = plan.Problems{}
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
	} else if err := printText(out, v); err != nil {
		return err
	}
	switch n := len(problems); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s has 1 mistake", file)
	default:
		return fmt.Errorf("%s has %d mistakes", file, n)
	}
}

func printText(out io.Writer, v verdict) error {
	if v.Valid {
		_, err := fmt.Fprintf(out, "%s: plan %s is valid\n", v.File, v.Name)
		return err
	}
	for _, p := range v.Problems {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	return nil
}

func read(in io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(io.LimitReader(in, plan.SizeLimit+1))
	}
	return plan.Read(file)
}
