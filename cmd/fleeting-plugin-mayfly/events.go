package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

type eventsCommand struct {
	configuration
	Follow bool          `short:"f" help:"Go on with what happens from now on, until interrupted."`
	Since  time.Duration `placeholder:"DURATION" help:"How far back to begin; 24h, or 0 with --follow, if not given."`
	JSON   bool          `help:"Print one JSON document a line."`
}

// poolEvent is one event of one pool's ledger.
type poolEvent struct {
	Pool string `json:"pool"`
	ledger.Event
}

// Run prints what happened to workers and pools, in order.
func (c eventsCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	all, err := ledgers(h, settings)
	if err != nil {
		return err
	}
	if c.Since == 0 && !c.Follow {
		c.Since = 24 * time.Hour
	}
	since := time.Now().Add(-c.Since)
	print := func(e poolEvent) error {
		if c.JSON {
			return json.NewEncoder(s.out).Encode(e)
		}
		_, err := fmt.Fprintln(s.out, e)
		return err
	}
	if c.Follow {
		return follow(ctx, all, since, print)
	}
	events, err := past(all, since)
	for _, e := range events {
		if err := print(e); err != nil {
			return err
		}
	}
	return err
}

// past are the events of all ledgers since a time, in the order in which they happened.
func past(all []poolLedger, since time.Time) (events []poolEvent, err error) {
	for _, of := range all {
		for event, err := range ledger.Read(of.dir, since) {
			if err != nil {
				return events, fmt.Errorf("pool %s: %w", of.pool, err)
			}
			events = append(events, poolEvent{of.pool, event})
		}
	}
	slices.SortStableFunc(events, func(a, b poolEvent) int { return a.At.Compare(b.At) })
	return events, nil
}

// follow prints events as they are written, until ctx ends or a ledger cannot be read.
func follow(ctx context.Context, all []poolLedger, since time.Time, print func(poolEvent) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var printing sync.Mutex
	var following sync.WaitGroup
	for _, of := range all {
		following.Go(func() {
			if err := of.follow(ctx, since, &printing, print); err != nil {
				cancel(fmt.Errorf("pool %s: %w", of.pool, err))
			}
		})
	}
	<-ctx.Done()
	following.Wait()
	return context.Cause(ctx)
}

func (l poolLedger) follow(
	ctx context.Context, since time.Time, printing *sync.Mutex, print func(poolEvent) error,
) error {
	for event, err := range ledger.Follow(ctx, l.dir, since) {
		if err != nil {
			return err
		}
		printing.Lock()
		err = print(poolEvent{l.pool, event})
		printing.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// String is the event as one line for people.
func (e poolEvent) String() string {
	said := []string{
		e.At.Local().Format("2006-01-02 15:04:05.000"), cmp.Or(e.Worker, "pool "+e.Pool), string(e.Kind),
	}
	if e.Phase != "" {
		said = append(said, e.Phase)
	}
	if e.How != "" {
		said = append(said, "as a "+e.How+" of image "+e.Image)
	}
	if e.Job != nil {
		said = append(said, fmt.Sprintf("job %d of %s, %q, the guest says", e.Job.ID, e.Job.Project, e.Job.Name))
	}
	if u := e.Usage; u != nil {
		said = append(said, fmt.Sprintf("%.1fs of processors, %d MiB of memory, %d packets denied",
			u.CPUSeconds, u.PeakMemory>>20, u.Denied))
	}
	if e.Lost > 0 {
		said = append(said, fmt.Sprintf("(%d events before it are lost)", e.Lost))
	}
	line := strings.Join(said, " ")
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	return line
}
