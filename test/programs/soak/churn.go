//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// churn makes and deletes workers, pool after pool, and requires that nothing grows.
func (s *stage) churn(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, p := range s.pools {
		if err := p.churn(ctx, s.options.churn); err != nil {
			return fmt.Errorf("churn in pool %s: %w", p.name, err)
		}
	}
	return s.finish(ctx)
}

// churn makes workers, as many at once as there is room for, has each answer, and
// deletes them. It looks after a tenth for the first time, when all that is made
// once has been made.
func (p *pool) churn(ctx context.Context, workers int) error {
	began, looked, first := time.Now(), false, size{}
	for made := 0; made < workers; {
		if made > 0 && made >= workers/10 && !looked {
			var err error
			if first, err = p.measure(); err != nil {
				return err
			}
			looked = true
		}
		n := min(p.traits.most, workers-made)
		if err := p.generation(ctx, n); err != nil {
			return err
		}
		made += n
	}
	last, err := p.measure()
	if err != nil {
		return err
	}
	say("churn of %d workers of %s in %.0f s, at most %d at once", workers, p.backend, time.Since(began).Seconds(),
		p.traits.most)
	say("%-28s %12s %12s %12s", "", "first", "last", "bound")
	for i, figure := range figures {
		say("%-28s %12d %12d %12d", figure.name, first[i], last[i], figure.bound(first[i]))
	}
	return grown(first, last)
}

// grown returns an error for each figure that is above its bound.
func grown(first, last size) error {
	var errs []error
	for i, figure := range figures {
		if last[i] > figure.bound(first[i]) {
			errs = append(errs, fmt.Errorf("%s: grown from %d to %d", figure.name, first[i], last[i]))
		}
	}
	return errors.Join(errs...)
}

// generation is the life of some workers, all at once.
func (p *pool) generation(ctx context.Context, n int) error {
	granted, err := p.process.Increase(ctx, n)
	p.promises.grant(granted)
	if err == nil && granted != n {
		err = fmt.Errorf("%d workers were promised, and not %d", granted, n)
	}
	if err == nil {
		err = p.settle(ctx)
	}
	if err != nil {
		return err
	}
	ids := p.workers(provider.StateRunning)
	if len(ids) != n {
		return fmt.Errorf("%d workers run, and not %d", len(ids), n)
	}
	if err := p.allAnswer(ctx); err != nil {
		return err
	}
	if err := p.dismiss(ctx, ids); err != nil {
		return err
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	return p.stage.inOrder(ctx)
}

// figure is something that is measured.
type figure struct {
	name          string
	percent, more int64
}

// bound is how much it may be at the end, when it was first at the beginning.
func (f figure) bound(first int64) int64 { return first + first*f.percent/100 + f.more }

// figures are what may not grow, and by how much it may all the same: memory that
// the garbage collector has not returned, threads that the runtime keeps.
var figures = [len(size{})]figure{
	{"memory (RSS, KiB)", 50, 16 << 10},
	{"open descriptors", 0, 4},
	{"threads", 0, 24},
	{"files in the state directory", 0, 0},
	{"their size (KiB)", 0, 64},
}

// size is a value for each of figures.
type size [5]int64

// measure looks at the plugin process, and at the state directory without its images, and
// without ledgers and logs, which have bounds of their own.
func (p *pool) measure() (s size, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return s, err
	}
	descriptors, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return s, err
	}
	s[0], s[2] = statusField(string(status), "VmRSS"), statusField(string(status), "Threads")
	s[1] = int64(len(descriptors))
	err = filepath.WalkDir(p.stage.host.StateDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case entry.Name() == "images" || entry.Name() == "ledger":
			return fs.SkipDir
		case strings.HasPrefix(entry.Name(), "plugin.log"):
			return nil
		}
		info, err := entry.Info()
		if err == nil {
			s[3]++
			s[4] += info.Size() >> 10
		}
		return err
	})
	return s, err
}

// statusField is a number in proc_pid_status(5).
func statusField(status, name string) int64 {
	for line := range strings.Lines(status) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			number, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return number
		}
	}
	return 0
}
