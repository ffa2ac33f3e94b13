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
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

const (
	// patience only ends what hangs: by emulation, and beside others, a machine
	// takes seconds.
	patience = 10 * time.Minute
	// glance is the pause between two looks.
	glance = 50 * time.Millisecond
)

// pool is a pool, and its plugin process.
type pool struct {
	stage         *stage
	name, backend string
	program       string // the plugin's, under a path that no other process has
	config        map[string]any
	traits        traits

	process  *runner.Plugin // nil while there is none
	pid      int
	promises *promises
}

// traits are what pools differ in, by backend.
type traits struct {
	most   int    // workers at once
	memory string // of each
	// leased says that workers have networks of their own, machine which things a
	// worker that runs has besides.
	leased  bool
	machine []inventory.Kind
	// suspends says that workers can be suspended; forks that there is a template.
	suspends, forks bool
	// identify is a script that prints the id of the worker.
	identify string
	// golden says that the image is the golden image of the tests, which may be there
	// already (test/harness/testrun).
	golden bool
}

var traitsOf = map[string]traits{
	"synthetic": {most: 8, identify: `basename "$PWD"`},
	"nspawn": {most: 4, memory: "256MiB", leased: true, identify: "hostname",
		machine: []inventory.Kind{inventory.Process, inventory.ControlGroup, inventory.LoopDevice}},
	"qemu": {most: 3, memory: "512MiB", leased: true, identify: "hostname", suspends: true, forks: true,
		machine: []inventory.Kind{inventory.Process, inventory.ControlGroup, inventory.User}, golden: true},
}

func newPool(s *stage, name, backend string) (*pool, error) {
	dir := filepath.Join(s.work, name)
	p := &pool{
		stage: s, name: name, backend: backend, program: filepath.Join(dir, testrun.ProgramName),
		traits: traitsOf[backend], promises: newPromises(),
	}
	p.config = map[string]any{
		"pool": name, "backend": backend, "state_dir": s.host.StateDir,
		"host": map[string]any{"max_workers": p.traits.most},
	}
	if p.traits.leased {
		if p.traits.golden {
			p.config["image"] = testrun.InputsJSON()
		}
		p.config["machine"] = map[string]any{"cpus": 1, "memory": p.traits.memory, "disk": testrun.DiskSize}
		// A resolver that refuses at once: a login looks names up, and would wait.
		p.config["network"] = map[string]any{"dns": []string{sandbox.Internet}}
	}
	return p, errors.Join(os.Mkdir(dir, 0o700), shell(`cp "$1" "$2"`, s.plugin, p.program))
}

// runnerConfig is a config.toml that asks for the images of the pools.
func runnerConfig(backend string) string {
	image := ""
	if traitsOf[backend].golden {
		steps, _ := json.Marshal(testrun.Steps) // strings cannot fail, and TOML reads JSON's
		image = "        run = " + string(steps) + testrun.Inputs
	}
	return fmt.Sprintf(`
[[runners]]
  name = "soak"
  executor = "instance"
  [runners.autoscaler]
    plugin = %q
    [runners.autoscaler.plugin_config]
      backend = %q
      [runners.autoscaler.plugin_config.image]
%s
      [runners.autoscaler.plugin_config.machine]
        cpus = 2
        memory = "1GiB"
        disk = %q
`, testrun.ProgramName, backend, image, testrun.DiskSize)
}

// start starts the pool's plugin and initialises it.
func (p *pool) start(ctx context.Context) error {
	if err := p.launch(); err != nil {
		return err
	}
	if err := p.process.Initialise(ctx); err != nil {
		return errors.Join(fmt.Errorf("initialising the plugin of pool %s: %w", p.name, err), p.kill())
	}
	return p.update(ctx)
}

// launch starts a plugin that is not initialised.
func (p *pool) launch() (err error) {
	logger := hclog.New(&hclog.LoggerOptions{Name: p.name, Level: hclog.Info, Output: p.stage.log})
	if p.process, err = runner.Start(p.program, p.config, logger); err != nil {
		return fmt.Errorf("starting the plugin of pool %s: %w", p.name, err)
	}
	p.process.Interval = glance
	found, err := process.Find(func(arguments []string) bool { return len(arguments) == 1 && arguments[0] == p.program })
	for id := range found {
		p.pid = id.PID
	}
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("pool %s has %d plugin processes", p.name, len(found))
	}
	return err
}

// kill kills the plugin with -9, as the kernel does when memory is short, and
// returns when it is gone.
func (p *pool) kill() error {
	if p.process == nil {
		return nil
	}
	err := syscall.Kill(p.pid, syscall.SIGKILL)
	return errors.Join(err, p.end())
}

// stop ends the plugin as a runner does.
func (p *pool) stop(ctx context.Context) error {
	if p.process == nil {
		return nil
	}
	err := p.process.Stop(ctx)
	return errors.Join(err, p.end())
}

// abandonLimit bounds the end of a pool that nobody needs any more.
const abandonLimit = 2 * time.Minute

// abandon ends a pool after a failure, as far as it has not ended: its workers outlive
// a plugin that was killed.
func (p *pool) abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), abandonLimit)
	defer cancel()
	err := p.stop(ctx)
	sweep := exec.CommandContext(ctx, p.program, "gc", "--state-dir", p.stage.host.StateDir)
	if out, swept := sweep.CombinedOutput(); swept != nil {
		err = errors.Join(err, fmt.Errorf("removing what pool %s left: %w: %s", p.name, swept, out))
	}
	return err
}

// end forgets a plugin process that has been told to end, once it has.
func (p *pool) end() error {
	err := p.reap()
	p.promises.end()
	return err
}

// reap hangs up on a plugin process, and waits for its end.
func (p *pool) reap() error {
	p.process.Kill()
	p.process = nil
	return await(context.Background(), "the end of the plugin of pool "+p.name, func() ([]string, error) {
		if !runner.Alive(p.pid) {
			return nil, nil
		}
		return []string{fmt.Sprintf("process %d is there", p.pid)}, nil
	})
}

// update asks the plugin how its workers are, as a runner does all the time.
func (p *pool) update(ctx context.Context) error {
	states, err := p.process.States(ctx)
	if err != nil {
		return fmt.Errorf("updating pool %s: %w", p.name, err)
	}
	return errors.Join(p.promises.update(states)...)
}

// dismiss asks workers to go.
func (p *pool) dismiss(ctx context.Context, ids []string) error {
	p.promises.dismiss(ids)
	going, err := p.process.Decrease(ctx, ids)
	if err == nil && len(going) != len(ids) {
		err = fmt.Errorf("of %q, %q will go", ids, going)
	}
	return err
}

// workers are those in one of the states, in order.
func (p *pool) workers(states ...provider.State) []string {
	ids := p.promises.in(states...)
	slices.Sort(ids)
	return ids
}

// missingTemplate says that there is no template, where workers are forked.
func (p *pool) missingTemplate() (missing []string, err error) {
	if !p.traits.forks {
		return nil, nil
	}
	templates := filepath.Join(p.stage.host.StateDir, "pools", p.name, "templates", "*", "template.json")
	found, err := filepath.Glob(templates)
	if len(found) != 1 {
		missing = []string{fmt.Sprintf("pool %s has %d templates, and not one", p.name, len(found))}
	}
	return missing, err
}

// awaitTemplate waits until workers are forked, where they are.
func (p *pool) awaitTemplate(ctx context.Context) error {
	return await(ctx, "the template of pool "+p.name, p.missingTemplate)
}

// await looks until look has nothing to say any more, and not longer than patience.
func await(ctx context.Context, what string, look func() ([]string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		wrong, err := look()
		if err != nil || len(wrong) == 0 {
			return err
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w:\n%s", what, context.Cause(ctx), strings.Join(wrong, "\n"))
		}
	}
}

// killInitialising kills a plugin whose Init is under way. Such a process has shown
// no worker; those that the one before has suspended are still to come.
func (p *pool) killInitialising() error {
	return errors.Join(syscall.Kill(p.pid, syscall.SIGKILL), p.reap())
}
