//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// undoLimit bounds each step of what is done when all is over.
const undoLimit = 2 * time.Minute

// tries is how often a round is tried.
const tries = 3

// method is one way of making workers.
type method interface {
	name() string
	// start makes n workers at once, and returns when all are ready.
	start(ctx context.Context, n int) ([]worker, error)
	// remove removes all workers that there are, half made ones included.
	remove(ctx context.Context) error
}

// worker is one that is ready.
type worker struct {
	id, dir string
	// how is the backend's word for how it was made; empty for the old way.
	how string
	// address is where its SSH server is reached from this host.
	address netip.AddrPort
	// run runs a script on it as a job, and returns what that printed.
	run func(ctx context.Context, script string) (string, error)
	// ready is how many seconds after the start of all its SSH handshake was
	// done.
	ready float64
	// start is what a fork's record says of its start.
	start report.Start
}

// bench measures, and undoes in the end what it has set up.
type bench struct {
	options
	ground
	// repeated counts the rounds of a section that failed.
	repeated int
	undo     []func(context.Context) error
	began    time.Time
}

// measure is the whole run: one section after the other. Each is written when
// it is done, and what it has set up is undone before the next.
func measure(ctx context.Context, o options) error {
	b := &bench{options: o, began: time.Now()}
	return b.within(ctx, func() (err error) {
		if b.ground, err = b.prepare(ctx); err != nil {
			return err
		}
		for _, name := range b.sections {
			if err := b.measureSection(ctx, name); err != nil {
				return fmt.Errorf("section %q: %w", name, err)
			}
		}
		return nil
	})
}

// within undoes what f has set up, also when it has failed or ctx has ended.
func (b *bench) within(ctx context.Context, f func() error) (err error) {
	outside := b.undo
	b.undo = nil
	defer func() {
		err = errors.Join(err, b.cleanUp(ctx))
		b.undo = outside
	}()
	return f()
}

// later has something undone in the end, before all that was set up earlier.
func (b *bench) later(undo func(context.Context) error) { b.undo = append(b.undo, undo) }

func (b *bench) cleanUp(ctx context.Context) error {
	var failed []error
	for _, undo := range slices.Backward(b.undo) {
		failed = append(failed, limited(ctx, undo))
	}
	return errors.Join(failed...)
}

// limited does what is to be done also when ctx has ended, for undoLimit.
func limited(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	return do(ctx)
}

// say tells how it goes on.
func (b *bench) say(format string, arguments ...any) {
	after := time.Since(b.began).Round(time.Second)
	fmt.Fprintf(os.Stderr, "bench %6s  %s\n", after, fmt.Sprintf(format, arguments...))
}

// insist repeats a round that failed, so that a long run is not lost with it;
// how many there were is in the document. once counts nothing when it fails.
func (b *bench) insist(ctx context.Context, once func() error) error {
	for try := 1; ; try++ {
		err := once()
		if err == nil || ctx.Err() != nil || try == tries {
			return err
		}
		b.repeated++
		b.say("  the round is repeated: %v", err)
	}
}

// seconds is a duration as it is reported.
func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
