//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// jobSessions is how many sessions GitLab Runner has for one job: each stage is
// one of its own.
const jobSessions = 6

const (
	containerReady = "ready"
	firstSession   = "first session of a job"
	allSessions    = "six sessions of a job"
)

// measureNspawn measures containers and forks by turns: until they are ready, and
// the path of a job into them, as the runner's own connector goes it.
func (b *bench) measureNspawn(ctx context.Context, s *stage, d *report.Document) error {
	containers, err := b.addPlugin(ctx, report.Nspawn, s.config)
	if err != nil {
		return err
	}
	b.say("one container to begin with; its image is built first, unless it is there")
	if err := b.warmUp(ctx, containers, nil); err != nil {
		return err
	}
	forks, err := b.addForks(ctx, report.Fork, s.config)
	if err != nil {
		return err
	}
	in := func(p *plugin) way {
		return way{p.name(), func(ctx context.Context) (map[string]float64, error) { return jobPath(ctx, p) }}
	}
	return b.compare(ctx, d, report.SectionNspawn, []string{containerReady, firstSession, allSessions},
		[]way{in(forks), in(containers)})
}

// jobPath has sessions one after the other on a new worker, each with a
// connection of its own and a script of one line.
func jobPath(ctx context.Context, m method) (map[string]float64, error) {
	took := make(map[string]float64)
	err := one(ctx, m, func(w worker) error {
		took[containerReady] = w.ready
		began := time.Now()
		for session := range jobSessions {
			said, err := w.run(ctx, "echo works")
			if err != nil {
				return fmt.Errorf("session %d of a job: %w", session+1, err)
			}
			if said != "works\n" {
				return fmt.Errorf("session %d of a job said %q", session+1, said)
			}
			if session == 0 {
				took[firstSession] = seconds(time.Since(began))
			}
		}
		took[allSessions] = seconds(time.Since(began))
		return nil
	})
	return took, err
}
