// Command measure prints what the functions cost beside a bare aws-lambda-go function, and fails when a binary, an archive, an init time or
// memory is worse than its baseline allows. With -update it writes the baseline, all of it; with -sizes it holds only the sizes of functions
// that are built for the deployed architecture already, which takes seconds.
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
	update := flag.Bool("update", false, "write the baseline: sizes, and the ratios of init time and memory")
	sizes := flag.String("sizes", "", "hold only the sizes of <directory>/<function>/bootstrap, and build and start nothing")
	flag.Parse()
	if *sizes != "" && *update {
		fmt.Fprintln(os.Stderr, "-sizes does not go with -update: the baseline is written of everything at once")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if *sizes != "" {
		err = binaries.Sizes(os.Stdout, *sizes)
	} else {
		err = binaries.Bench(ctx, os.Stdout, *update)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
