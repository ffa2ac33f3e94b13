//go:build linux

// Command soak loads real plugin processes at random, as a runner and an unlucky
// host would: it asks for workers, deletes, suspends and resumes them, runs jobs
// on them, kills the plugins with -9 and starts them again, flushes the firewall
// and fills the disk. After each round of that it waits until all is quiet, and
// requires that what the plugins promised holds and that nothing on the host
// belongs to nobody.
//
//	soak -rounds 300 -backends "synthetic nspawn qemu" -seed 7
//	soak -churn 2000 -backends synthetic
//
// With -churn it makes and deletes so many workers instead, and requires that the
// plugin process and its directories are as small at the end as at the beginning.
// As root it has network and mount namespaces of its own, and the state directory
// on a small file system of its own; otherwise it makes synthetic workers only.
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
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	run := func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := soak(ctx, o); err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			return 1
		}
		return 0
	}
	if o.root {
		os.Exit(sandbox.Inside(run))
	}
	os.Exit(run())
}

func soak(ctx context.Context, o options) (err error) {
	s, err := setUp(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.tearDown()) }()
	if o.churn > 0 {
		err = s.churn(ctx)
	} else {
		err = s.rounds(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\nthe end of the plugins' log:\n%s", err, s.log.tail())
	}
	say("all is well")
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
