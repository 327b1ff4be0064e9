package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// WithSignals returns a context that ends with the first SIGINT (Ctrl-C) or
// SIGTERM, so that the command can finish its batch and save its state. The
// second one calls exit at once, with 128 plus the signal's number: 130 or 143.
// stop gives the signals back.
func WithSignals(parent context.Context, stderr io.Writer, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go watchSignals(signals, done, cancel, stderr, exit)
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

func watchSignals(signals <-chan os.Signal, done <-chan struct{}, cancel func(), stderr io.Writer, exit func(int)) {
	for first := true; ; first = false {
		select {
		case <-done:
			return
		case sig := <-signals:
			if first {
				fmt.Fprintln(stderr, "adafire: stopping after the current batch; again to stop at once")
				cancel()
				continue
			}
			code := exitInterrupted
			if sig == syscall.SIGTERM {
				code = 143
			}
			exit(code)
			return
		}
	}
}
