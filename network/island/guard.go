//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/changes"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// guard puts the pool's table on the host back whenever somebody takes it, or a
// part of it, away. `nft flush ruleset` does, and so does the reload of many a
// firewall.
type guard struct {
	table firewall.Table
	log   *slog.Logger
	// port is where the table was put in place from the last time.
	port uint32

	listener *changes.Listener
	changed  chan changes.Rules
	running  sync.WaitGroup
	cancel   context.CancelFunc
	ended    <-chan struct{}

	mu sync.Mutex
	// mended is closed when the table was found, or put back, whole. The next one
	// takes its place.
	mended chan struct{}
}

// newGuard puts the table in place, and guards it until it is closed.
func newGuard(table firewall.Table, log *slog.Logger) (*guard, error) {
	ctx, cancel := context.WithCancel(context.Background())
	g := &guard{
		table: table, log: log.With("table", table.Name()),
		changed: make(chan changes.Rules), cancel: cancel, ended: ctx.Done(),
		mended: make(chan struct{}),
	}
	var err error
	if g.listener, err = changes.OfRules(g.hear); err != nil {
		cancel()
		return nil, err
	}
	if err := g.apply(); err != nil { // after the first moment that is listened to
		return nil, errors.Join(err, g.Close())
	}
	g.running.Go(func() { g.keep(ctx) })
	return g, nil
}

// Close ends the guard, and leaves the table.
func (g *guard) Close() error {
	g.cancel()
	err := g.listener.Close()
	g.running.Wait()
	return err
}

func (g *guard) hear(change changes.Rules) {
	if !change.Missed && !slices.Contains(change.Tables, g.table.Name()) {
		return
	}
	select {
	case g.changed <- change:
	case <-g.ended:
	}
}

// keep looks at the table whenever somebody may have changed it, but not at what the
// guard itself did: somebody else who took it away since then is about to be heard
// of by name.
func (g *guard) keep(ctx context.Context) {
	var storm storm
	for {
		select {
		case change := <-g.changed:
			if change.Missed || change.Port != g.port {
				g.mend(ctx, &storm, change)
			}
		case <-ctx.Done():
			return
		}
	}
}

// mend puts the table back unless it is whole, and tries until that is done.
func (g *guard) mend(ctx context.Context, storm *storm, change changes.Rules) {
	lost := time.Now()
	whole, err := g.look(ctx)
	if err == nil && !whole {
		err = g.putBack(ctx, storm, change.By)
	}
	if err != nil {
		return // the context has ended
	}
	if !whole {
		g.log.Warn("somebody removed the pool's firewall rules: they are back, workers were cut off meanwhile",
			"by", change.By, "missing_for", time.Since(lost))
	}
	g.tellMended()
}

// look says whether the table is whole, and tries until it knows or the context
// ends: what cannot be seen need not be missing.
func (g *guard) look(ctx context.Context) (whole bool, err error) {
	for {
		if whole, err = firewall.Whole(g.table); err == nil {
			return whole, nil
		}
		g.log.Error("the pool's firewall rules cannot be looked at: somebody may have removed them",
			"err", err, "again_in", retry)
		if err := sleep(ctx, retry); err != nil {
			return false, err
		}
	}
}

// putBack tries until the table is back or the context ends.
func (g *guard) putBack(ctx context.Context, storm *storm, by string) error {
	if pause := storm.pause(time.Now()); pause > 0 {
		g.log.Error("somebody keeps removing the pool's firewall rules: workers are cut off",
			"by", by, "again_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	for err := g.apply(); err != nil; err = g.apply() {
		g.log.Error("the pool's firewall rules cannot be put back: workers are cut off",
			"by", by, "err", err, "again_in", retry)
		if err := sleep(ctx, retry); err != nil {
			return err
		}
	}
	storm.over(time.Now())
	return nil
}

func (g *guard) apply() error {
	port, err := firewall.ApplyFrom(g.table)
	if err == nil {
		g.port = port
	}
	return err
}

// retry is how soon what failed is tried again.
const retry = time.Second

// sleep returns the context's error when that ends first.
func sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *guard) tellMended() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.mended)
	g.mended = make(chan struct{})
}

func (g *guard) nextMended() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mended
}

// tooLong is how long whoever waits for the table does so before it has the guard
// look, which should have heard long before.
const tooLong = time.Second

// await returns when the table is in place.
func (g *guard) await(ctx context.Context) error {
	var ask chan<- changes.Rules // nobody takes anything from nil
	for {
		mended := g.nextMended()
		whole, err := firewall.Whole(g.table)
		if err == nil && whole {
			return nil
		}
		select {
		case <-mended:
		case <-time.After(tooLong):
			ask = g.changed
		case ask <- changes.Rules{Missed: true, By: "somebody"}:
			ask = nil
		case <-g.ended:
			return fmt.Errorf("waiting for nftables table inet %s: the network was closed", g.table.Name())
		case <-ctx.Done():
			return g.awaited(context.Cause(ctx), err)
		}
	}
}

// awaited is the error of who waited in vain: the table cannot be looked at for a
// reason, or is not there.
func (g *guard) awaited(ended, unseen error) error {
	if unseen != nil {
		return fmt.Errorf("waiting for nftables table inet %s: %w: %w", g.table.Name(), ended, unseen)
	}
	return fmt.Errorf("waiting for nftables table inet %s, which somebody has removed: %w", g.table.Name(), ended)
}

// A table that is removed again and again is put back at once so many times, and
// then ever later, until it was left alone for a while.
const (
	atOnceBack    = 20
	shortestPause = 100 * time.Millisecond
	longestPause  = 10 * time.Second
	leftAlone     = 20 * time.Second
)

// storm is losses that follow each other.
type storm struct {
	losses int
	back   time.Time
}

// pause is how long to wait after one more loss.
func (s *storm) pause(now time.Time) time.Duration {
	if now.Sub(s.back) > leftAlone {
		s.losses = 0
	}
	s.losses++
	pause := shortestPause
	for n := atOnceBack + 1; n < s.losses && pause < longestPause; n++ {
		pause *= 2
	}
	if s.losses <= atOnceBack {
		return 0
	}
	return min(pause, longestPause)
}

// over says that the table is back.
func (s *storm) over(now time.Time) { s.back = now }
