// Command measure prints what the functions cost beside a bare aws-lambda-go function, and fails when a binary has outgrown its baseline.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"fallbackchain.io/fallback/infra/aws/binaries"
)

func main() {
	update := flag.Bool("update", false, "write the baseline")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := binaries.Bench(ctx, os.Stdout, *update)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
