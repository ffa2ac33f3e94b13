package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// tryLimit bounds all jobs together.
	tryLimit = 30 * time.Minute
	// leastInstances may run at once on any host.
	leastInstances = 4
	// defaultScript is what a job runs when nothing else is asked for.
	defaultScript = "hostname; uname -a"
)

type tryCommand struct {
	configuration
	Jobs   int      `default:"1" placeholder:"N" help:"How many jobs to run (${default}), each on a worker of its own."`
	JSON   bool     `help:"Print one JSON document."`
	Script []string `arg:"" optional:"" help:"What each job runs, after --; the words are joined as ssh joins them."`
}

// Validate is called by the command line's parser.
func (c tryCommand) Validate() error {
	if c.Jobs < 1 {
		return fmt.Errorf("--jobs: %d would run nothing: write at least 1", c.Jobs)
	}
	return nil
}

// Run builds the image, runs the jobs, and looks for orphans.
func (c tryCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, runner, err := c.load()
	if err != nil {
		return err
	}
	outcome, err := c.try(ctx, s, h, settings, runner.Username)
	if outcome == nil {
		return err
	}
	return errors.Join(err, c.print(s, outcome))
}

// try builds the image in this process, where a mistake in it ends the command
// at once, and makes the template; the plugin then finds both. The outcome is nil when
// it did not come to running jobs; otherwise an error says why not all ran.
func (c tryCommand) try(
	ctx context.Context, s *streams, h *host.Host, settings config.Config, user string,
) (*outcome, error) {
	progress := newProgress(s.err).report
	golden, backend, err := h.BuildImage(ctx, settings, user, host.Building{}, progress, s.log)
	if err != nil {
		return nil, err
	}
	settings, err = settings.With(func(c *config.Config) { c.Pool, c.Backend = config.PoolTry, backend })
	if err != nil {
		return nil, err
	}
	err = h.PrepareTemplate(ctx, settings, golden, progress, s.log)
	if err != nil && settings.Warm() {
		return nil, err // clones would run the same commands
	}
	if err != nil {
		s.log.Warn("no template: workers are clones, which take longer", "error", err)
	}
	result := newOutcome(backend, golden)
	began := time.Now()
	err = c.runJobs(ctx, s, settings, user, result)
	result.seconds = time.Since(began).Seconds()
	_, result.reason = h.Acceleration(settings, s.log)

	// Even when interrupted, and above all then.
	left, leftErr := h.Orphans(context.WithoutCancel(ctx), settings)
	result.LeftOver = left
	return result, errors.Join(err, leftErr)
}

// runJobs starts the plugin, runs all jobs at once as far as there is room for
// their workers, and ends the plugin.
func (c tryCommand) runJobs(
	ctx context.Context, s *streams, settings config.Config, user string, result *outcome,
) error {
	late := fmt.Errorf("not all jobs were done within %s", tryLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, tryLimit, late)
	defer cancel()
	fleet, err := startFleet(ctx, settings, user, instances(c.Jobs, settings), s.err)
	if err != nil {
		return err
	}
	defer fleet.stop()
	var jobs sync.WaitGroup
	results, errs := make([]*job, c.Jobs), make([]error, c.Jobs)
	for n := range c.Jobs {
		jobs.Go(func() { results[n], errs[n] = fleet.run(fmt.Sprintf("job-%d", n+1), c.script()) })
	}
	jobs.Wait()
	result.add(results)
	return cmp.Or(errs...) // most likely they have one reason
}

func (c tryCommand) script() string {
	if len(c.Script) == 0 {
		return defaultScript
	}
	return strings.Join(c.Script, " ")
}

// instances is how many workers there may be at once: enough to see workers
// side by side, and not so many that they only wait for the host's processors.
func instances(jobs int, c config.Config) int {
	return min(jobs, max(leastInstances, 2*runtime.NumCPU()), c.MaxWorkers())
}

func (c tryCommand) print(s *streams, o *outcome) error {
	var err error
	if c.JSON {
		err = s.document(o)
	} else {
		err = o.table(s.out)
	}
	if err == nil && !o.good() {
		err = errSilent
	}
	return err
}
