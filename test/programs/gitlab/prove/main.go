//go:build linux

// Command prove runs a real GitLab Runner with the built plugin against a
// played GitLab, and checks what becomes of the jobs and what is left behind.
// `make runner` runs it, as root. All of it is in namespaces of its own, one of
// which is the private network that GitLab is in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func main() {
	o, err := parseOptions(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(2)
	}
	os.Exit(sandbox.Inside(func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := prove(ctx, o); err != nil {
			fmt.Fprintln(os.Stderr, "prove:", err)
			return 1
		}
		return 0
	}))
}

// prove runs the scenarios one after the other, up to the first that fails.
func prove(ctx context.Context, o options) (err error) {
	stage, err := setUp(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.tearDown()) }()
	for _, scenario := range o.scenarios {
		say("== %s", scenario.name)
		if err := scenario.run(ctx, stage); err != nil {
			return fmt.Errorf("%s: %w", scenario.name, err)
		}
	}
	say("all is well")
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
