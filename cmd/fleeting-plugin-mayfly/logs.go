package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

type logsCommand struct {
	configuration
	Follow bool   `short:"f" help:"Go on with what is logged from now on."`
	ID     string `arg:"" optional:"" name:"ID" help:"Only what is about this worker."`
}

// Run prints what the plugin processes have logged, pool by pool, the oldest line first;
// with Follow, that of all pools as it comes.
func (c logsCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var following sync.WaitGroup
	var errs []error
	err = eachStore(h, settings, func(pool string, records *store.Store) error {
		show := &entries{show: func(e entry) {
			if c.ID != "" && e.worker() != c.ID {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(s.out, e.text(pool))
		}}
		if !c.Follow {
			return showLog(ctx, records, false, show)
		}
		following.Go(func() {
			if err := showLog(ctx, records, true, show); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
		return nil
	})
	following.Wait()
	return errors.Join(append(errs, err)...)
}

// showLog shows the former log of a pool, and then the present one.
func showLog(ctx context.Context, records *store.Store, follow bool, show *entries) error {
	whole := func() bool { return true }
	for _, log := range []struct {
		open func() (*os.File, error)
		over func() bool
	}{{records.OpenFormerLog, whole}, {records.OpenLog, func() bool { return !follow }}} {
		err := lines.Follow(ctx, log.open, log.over, show)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading a pool's log: %w", err)
		}
	}
	return nil
}

// entries shows each entry that is written to it. A line is whole as soon as it ends.
type entries struct {
	show    func(entry)
	partial []byte
}

// Write never fails.
func (e *entries) Write(text []byte) (int, error) {
	e.partial = append(e.partial, text...)
	for {
		line, rest, whole := bytes.Cut(e.partial, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		e.show(readEntry(line))
		e.partial = rest
	}
}

// entry is a line of a log: slog's fields, in which a guest's words may be.
type entry map[string]any

// readEntry takes a line that is no entry, such as a half of one, for a message.
func readEntry(line []byte) entry {
	var e entry
	if json.Unmarshal(line, &e) != nil || e == nil {
		return entry{"level": "-", "msg": string(line)}
	}
	return e
}

func (e entry) worker() string {
	id, _ := e["worker"].(string)
	return id
}

// text is an entry for people. What follows the first line of a value stands below it.
func (e entry) text(pool string) string {
	var said strings.Builder
	var below []string
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(e["time"])); err == nil {
		said.WriteString(at.Local().Format(time.DateTime) + " ")
	}
	level, message := fmt.Sprint(e["level"]), fmt.Sprint(e["msg"])
	fmt.Fprintf(&said, "%s %s: %s", lines.Printable(level), pool, lines.Printable(message))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if slices.Contains([]string{"time", "level", "msg"}, name) {
			continue
		}
		first, rest, _ := strings.Cut(fmt.Sprint(e[name]), "\n")
		fmt.Fprintf(&said, " %s=%s", lines.Printable(name), lines.Printable(first))
		for line := range strings.Lines(rest) {
			below = append(below, "    "+lines.Printable(line))
		}
	}
	return strings.Join(append([]string{said.String()}, below...), "\n")
}
