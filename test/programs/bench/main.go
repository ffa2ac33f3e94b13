//go:build linux

// Command bench measures Mayfly beside the way that its users come from, in one
// run, on one machine and one golden image: a full copy of the disk that boots
// with cloud-init, our clone, our fork. It also times what they are made of,
// what their users wait for besides, and the pool's own overhead. `make bench`
// runs it, as root, from the root of the repository; it writes docs/bench.json
// and the tables in README.md and docs/performance.md.
//
// A run is made of sections (sections.go), each of which can be measured alone
// and has a file: what is measured, and how. What follows from it is in report/.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "bench: %v; only finished sections are written\n%v\n", context.Cause(ctx), err)
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	o, err := parseOptions(arguments, os.Stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("machines with networks of their own need root: run it as root")
	}
	if _, err := os.Stat("test/programs/bench/main.go"); err != nil {
		return errors.New("run it from the root of the repository")
	}
	return measure(ctx, o)
}
