// Command adafire trains networks, converts them to spiking networks without
// retraining, and measures what that costs and saves. All of it is in
// internal/cli, so that it can be tested without a process.
package main

import (
	"context"
	"os"

	"github.com/adafire/adafire/internal/cli"
)

func main() {
	ctx, stop := cli.WithSignals(context.Background(), os.Stderr, os.Exit)
	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
