//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// What each worker gets: enough for a job, and small enough for eight on a
// laptop.
const (
	guestCPUs   = 1
	guestMemory = 512 << 20
	guestDisk   = 4 << 30
)

// poolOf names the pool of each method.
var poolOf = map[string]string{
	report.Old: "bench-old", report.Clone: "bench-clone", report.Fork: "bench-fork", report.Stocked: "bench-stock",
}

// warmUps is how many workers may be made in vain until the plugin makes forks,
// and warmUpPause the time between them: workers wait for the template, but are
// clones, which slow it down, when it is late.
const (
	warmUps     = 20
	warmUpPause = 15 * time.Second
)

// stage is what the measurements need.
type stage struct {
	config config.Config
	golden image.Golden
	// work is for files that nobody else needs.
	work string
	// command is the command line of a clone, made general; cloneFormat is of
	// its disk, acceleration what it ran on.
	command      []string
	cloneFormat  string
	acceleration string
	old          *oldWay
}

// setUp builds the program and the golden image, and makes a clone and a fork,
// so that nothing of theirs is measured that is done only once. The old way
// has nothing of the kind but the disk that it copies.
func (b *bench) setUp(ctx context.Context) (stage, error) {
	s := stage{}
	var err error
	if s.config, err = b.configuration(); err != nil {
		return s, err
	}
	if s.work, err = os.MkdirTemp(s.config.StateDir, "bench-"); err != nil {
		return s, err
	}
	b.later(func(context.Context) error { return os.RemoveAll(s.work) })
	b.say("building the program")
	binary, err := testrun.Build(s.work)
	if err != nil {
		return s, err
	}
	b.later(func(ctx context.Context) error { return sweep(ctx, binary, s.config) })

	clones, err := b.addPlugin(ctx, binary, report.Clone, s.config)
	if err != nil {
		return s, err
	}
	b.say("one clone to begin with; the golden image is built first, unless it is there")
	if err := b.warmUp(ctx, clones, s.lookAt); err != nil {
		return s, err
	}
	if err := b.addOldWay(ctx, &s); err != nil {
		return s, err
	}
	forks, err := b.addPlugin(ctx, binary, report.Fork, s.config)
	if err != nil {
		return s, err
	}
	b.say("one fork to begin with; its template is made first")
	if err := b.warmUp(ctx, forks, nil); err != nil {
		return s, err
	}
	b.say("forks for the stock; their template is made first")
	stock, err := b.addPlugin(ctx, binary, report.Stocked, s.config)
	if err != nil {
		return s, err
	}
	b.methods = []method{s.old, clones, forks, stock}
	return s, b.warmUp(ctx, stock, nil)
}

// configuration is the common part of all pools.
func (b *bench) configuration() (config.Config, error) {
	stateDir := b.stateDir
	if stateDir == "" {
		dir, err := os.MkdirTemp("", "mf-bench-") // short: it holds sockets
		if err != nil {
			return config.Config{}, err
		}
		b.later(func(context.Context) error { return os.RemoveAll(dir) })
		stateDir = dir
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return config.Config{}, err
	}
	return config.Default().With(func(c *config.Config) {
		c.StateDir, c.Backend = stateDir, config.BackendQEMU
		c.Machine.CPUs, c.Machine.Memory, c.Machine.Disk = guestCPUs, guestMemory, guestDisk
		c.Host.ConcurrentStarts = slices.Max(b.counts) // at once means at once
	})
}

// addPlugin starts a plugin with a pool of its own, and stops it in the end.
func (b *bench) addPlugin(ctx context.Context, binary, method string, c config.Config) (*plugin, error) {
	c.Pool, c.Fork.Enabled, c.Fork.Spares = poolOf[method], method != report.Clone, 0
	if method == report.Stocked {
		c.Fork.Spares = slices.Max(b.counts)
	}
	log := hclog.New(&hclog.LoggerOptions{Name: method, Level: hclog.Warn, Output: os.Stderr})
	p, err := startPlugin(ctx, binary, method, c, log)
	if err != nil {
		return nil, err
	}
	b.later(p.stop)
	return p, nil
}

// warmUp makes workers until one is made in the right way, and has a look at
// it.
func (b *bench) warmUp(ctx context.Context, p *plugin, look func(*plugin, worker) error) error {
	for try := 1; ; try++ {
		workers, err := p.start(ctx, 1)
		if err == nil && look != nil {
			err = look(p, workers[0])
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
		removed := p.remove(limited)
		cancel()
		if !errors.Is(err, errOtherWay) || removed != nil || try == warmUps {
			return errors.Join(err, removed)
		}
		select {
		case <-time.After(warmUpPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lookAt learns from the first clone what the old way is to be compared with.
func (s *stage) lookAt(p *plugin, w worker) error {
	record, err := p.records.Load(w.id)
	if err != nil {
		return err
	}
	s.acceleration = record.Acceleration
	s.golden.Dir = filepath.Join(s.config.ImagesDir(), record.ImageDigest)
	text, err := os.ReadFile(filepath.Join(s.golden.Dir, image.ManifestFile))
	if err != nil {
		return fmt.Errorf("reading the golden image's manifest: %w", err)
	}
	if err := json.Unmarshal(text, &s.golden.Manifest); err != nil {
		return fmt.Errorf("reading the golden image's manifest: %w", err)
	}
	_, command, err := machine(w.dir)
	if err != nil {
		return err
	}
	s.cloneFormat = diskFormat(command)
	s.command, err = generalised(command, w.dir)
	return err
}

// sweep removes orphans, each of which is an error because the methods remove all
// of theirs, and then the directories of the pools.
func sweep(ctx context.Context, binary string, c config.Config) error {
	command := exec.CommandContext(ctx, binary, "gc", "--state-dir", c.StateDir, "--json")
	text, err := command.Output()
	if err != nil {
		return fmt.Errorf("looking for orphans: %w", err)
	}
	var pools []struct {
		Pool     string   `json:"pool"`
		LeftOver []string `json:"left_over"`
	}
	if err := json.Unmarshal(text, &pools); err != nil {
		return fmt.Errorf("looking for orphans: %w", err)
	}
	var left []error
	for _, pool := range pools {
		for _, what := range pool.LeftOver {
			left = append(left, fmt.Errorf("pool %s: an orphan, removed now: %s", pool.Pool, what))
		}
	}
	for _, c.Pool = range poolOf {
		left = append(left, os.RemoveAll(c.PoolDir()))
	}
	return errors.Join(left...)
}
