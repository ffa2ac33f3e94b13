//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// jobs run beside a round, whatever happens to their workers meanwhile.
type jobs struct {
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
}

func newJobs(ctx context.Context) *jobs {
	j := &jobs{}
	j.ctx, j.cancel = context.WithCancel(ctx)
	return j
}

// endless is a job that goes on until somebody ends it. It says nothing, and so does
// not end because nobody listens.
const endless = "while sleep 0.2; do date >>written; done 2>/dev/null"

func (j *jobs) begin(info provider.ConnectInfo) {
	j.all.Go(func() { _, _ = runner.RunJob(j.ctx, info, endless) })
}

// end ends them as a runner does that cancels its jobs.
func (j *jobs) end() {
	j.cancel()
	j.all.Wait()
}

// answerLimit bounds a login and a short script.
const answerLimit = 2 * time.Minute

// answers requires that a worker lets a job in, is the one that it should be, and
// reaches the door, if it is to.
func (p *pool) answers(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	info, err := p.process.ConnectInfo(ctx, id)
	if err != nil {
		return fmt.Errorf("worker %s: %w", id, err)
	}
	script, wanted := p.traits.identify, id+"\n"
	if p.traits.leased {
		script += "; timeout 30 bash -c 'read -r line </dev/tcp/" + sandbox.Internet + "/7; echo $line'"
		wanted += hello + "\n"
	}
	said, err := runner.RunJob(ctx, info, script)
	if err == nil && said != wanted {
		err = fmt.Errorf("it said %q, and not %q", said, wanted)
	}
	if err != nil {
		return fmt.Errorf("worker %s, which runs, does not answer: %w", id, err)
	}
	return nil
}
