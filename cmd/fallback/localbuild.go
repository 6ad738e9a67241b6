package main

import (
	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/localcmd"
	"fallbackchain.io/fallback/infra/local/toolchain"
)

// buildCommand is "fallback local build": everything that the local stack and its tests start, without starting it.
func buildCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "build", Short: "build the stack's programs from source (Kubernetes and others: long the first time)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			event, done := localcmd.Progress(o.err)
			defer done()
			c := toolchain.Config{Progress: event}
			if _, err := toolchain.Ensure(cmd.Context(), c, append(toolchain.Stack(), toolchain.Sanity())...); err != nil {
				return err
			}
			_, err := toolchain.Mains(cmd.Context(), c)
			return err
		},
	}
}
