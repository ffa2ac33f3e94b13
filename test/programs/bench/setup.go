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
	report.ClonesAtOnce: "bench-at-once", report.TemplateFirst: "bench-first", report.WarmFork: "bench-warm",
	report.Nspawn: "bench-nspawn",
}

// forked are the methods of a plugin that forks.
var forked = []string{report.Fork, report.Stocked, report.TemplateFirst, report.WarmFork}

// warmUps is how many workers may be made in vain until the plugin makes forks,
// and warmUpPause the time between them: workers wait for the template, but are
// clones, which slow it down, when it is late.
const (
	warmUps     = 20
	warmUpPause = 15 * time.Second
)

// ground is what all sections share.
type ground struct {
	// config is the common part of all pools.
	config config.Config
	// work is for files that nobody else needs, binary the built program, version
	// the version of what it was built from.
	work, binary, version string
}

// stage is what one section has been set up with: a plugin that makes clones of
// its image, and what the first of them showed.
type stage struct {
	config config.Config
	golden image.Golden
	clones *plugin
	// command is the command line of a clone, made general; cloneFormat is of
	// its disk, acceleration what it ran on.
	command      []string
	cloneFormat  string
	acceleration string
}

// prepare builds the program.
func (b *bench) prepare(ctx context.Context) (ground, error) {
	g := ground{version: version(ctx)} // before pages change, which would make it dirty
	var err error
	if g.config, err = b.configuration(); err != nil {
		return g, err
	}
	if g.work, err = os.MkdirTemp(g.config.StateDir, "bench-"); err != nil {
		return g, err
	}
	b.later(func(context.Context) error { return os.RemoveAll(g.work) })
	b.say("building the program")
	g.binary, err = testrun.Build(g.work)
	return g, err
}

// setUp builds the golden image and makes a clone, so that nothing of theirs is
// measured that is done only once.
func (b *bench) setUp(ctx context.Context, change func(*config.Config)) (*stage, error) {
	c, err := b.config.With(change)
	if err != nil {
		return nil, err
	}
	s := &stage{config: c}
	b.later(func(ctx context.Context) error { return sweep(ctx, b.binary, c) })
	if s.clones, err = b.addPlugin(ctx, report.Clone, c); err != nil {
		return nil, err
	}
	b.say("one clone to begin with; the golden image is built first, unless it is there")
	return s, b.warmUp(ctx, s.clones, s.lookAt)
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
// warm is what its templates run before they are saved.
func (b *bench) addPlugin(ctx context.Context, method string, c config.Config, warm ...string) (*plugin, error) {
	c.Pool, c.Fork.Enabled, c.Fork.Spares = poolOf[method], slices.Contains(forked, method), 0
	c.Fork.Warm = warm
	if method == report.Stocked {
		c.Fork.Spares = slices.Max(b.counts)
	}
	if method == report.Nspawn {
		c.Backend = config.BackendNspawn
	}
	log := hclog.New(&hclog.LoggerOptions{Name: method, Level: hclog.Warn, Output: os.Stderr})
	p, err := startPlugin(ctx, b.binary, method, c, log)
	if err != nil {
		return nil, err
	}
	b.later(p.stop)
	return p, nil
}

// addForks is addPlugin that returns once the plugin makes forks.
func (b *bench) addForks(ctx context.Context, method string, c config.Config, warm ...string) (*plugin, error) {
	p, err := b.addPlugin(ctx, method, c, warm...)
	if err != nil {
		return nil, err
	}
	b.say("one %s to begin with; its template is made first", method)
	return p, b.warmUp(ctx, p, nil)
}

// warmUp makes workers until one is made in the right way, and has a look at
// it.
func (b *bench) warmUp(ctx context.Context, p *plugin, look func(*plugin, worker) error) error {
	for try := 1; ; try++ {
		workers, err := p.start(ctx, 1)
		if err == nil && look != nil {
			err = look(p, workers[0])
		}
		removed := limited(ctx, p.remove)
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
