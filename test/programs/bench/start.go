//go:build linux

package main

import (
	"context"
	"os"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// firstWorkers is how many workers are asked for as soon as a plugin has begun.
const firstWorkers = 4

const (
	firstReady  = "first worker ready"
	fourthReady = "fourth worker ready"
)

// measureStart measures what the first jobs after a start wait for: the image is
// there, and no template.
//
// A plugin whose workers boot while it makes its template is played by two, which
// do the same work at the same time: one makes clones only, the other a template
// and no worker.
func (b *bench) measureStart(ctx context.Context, s *stage, d *report.Document) error {
	c, err := s.config.With(func(c *config.Config) { c.Host.ConcurrentStarts = firstWorkers })
	if err != nil {
		return err
	}
	from := func(methods ...string) func(context.Context) (map[string]float64, error) {
		return func(ctx context.Context) (map[string]float64, error) { return b.firstOf(ctx, c, methods) }
	}
	return b.compare(ctx, d, report.SectionStart, []string{firstReady, fourthReady}, []way{
		{report.ClonesAtOnce, from(report.Fork, report.ClonesAtOnce)},
		{report.TemplateFirst, from(report.TemplateFirst)},
	})
}

// firstOf starts plugins that have nothing but the image, asks the last of them
// for workers, and removes all.
func (b *bench) firstOf(ctx context.Context, c config.Config, methods []string) (took map[string]float64, err error) {
	err = b.within(ctx, func() error {
		began := time.Now()
		var asked *plugin
		for _, method := range methods {
			pool := c
			pool.Pool = poolOf[method]
			b.later(func(context.Context) error { return os.RemoveAll(pool.PoolDir()) })
			if asked, err = b.addPlugin(ctx, method, c); err != nil {
				return err
			}
		}
		b.later(asked.remove)
		waited := seconds(time.Since(began))
		workers, err := asked.start(ctx, firstWorkers)
		if err != nil {
			return err
		}
		took = inTurn(workers, waited)
		forks := 0
		for _, w := range workers {
			if w.how == backend.Fork {
				forks++
			}
		}
		b.say("  %d of %d are forks", forks, len(workers))
		return nil
	})
	return took, err
}

// inTurn says when the first of them was ready and when the last, from so many
// seconds before they were asked for.
func inTurn(workers []worker, waited float64) map[string]float64 {
	var ready []float64
	for _, w := range workers {
		ready = append(ready, waited+w.ready)
	}
	return map[string]float64{firstReady: slices.Min(ready), fourthReady: slices.Max(ready)}
}
