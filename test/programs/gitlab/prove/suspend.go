//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

const suspendable = `
  [runners.feature_flags]
    FF_SUSPENDABLE_ENVIRONMENTS = true
`

// suspended has a job leave its machine, and a later one find there the file
// and the process that the first has left. The machine ends with the second.
func suspended(ctx context.Context, s *stage) error {
	set := instance(0)
	set.runner = suspendable
	return s.with(ctx, set, func(*runner) error {
		first := s.gitlab.Offer(gitlab.Spec{
			Name: "leaves its machine", Suspend: true,
			Script: []string{
				"cat /etc/machine-id >kept", "sleep 3600 </dev/null >/dev/null 2>&1 & echo process=$!",
				"echo machine=$(cat kept)",
			},
		})
		left, err := await(ctx, first, gitlab.Success)
		if err != nil {
			return err
		}
		if left.EnvironmentKey == "" {
			return fmt.Errorf("the job left no machine; its trace:\n%s", left.Trace)
		}
		say("   the machine is called %s", left.EnvironmentKey)
		if err := s.awaitWorkers(ctx, pool.Suspended, 1); err != nil {
			return err
		}
		second := s.gitlab.Offer(gitlab.Spec{
			Name: "goes on there", Resume: left.EnvironmentKey,
			Script: []string{firstLine, "echo machine=$(cat kept)", "kill -0 " + after(left.Trace, "process=")},
		})
		outcome, err := await(ctx, second, gitlab.Success)
		if err != nil {
			return err
		}
		sayBegan(second, outcome)
		if id := after(outcome.Trace, "machine="); id == "" || !strings.Contains(left.Trace, "machine="+id) {
			return fmt.Errorf("the second job was on machine %q, not that of the first, whose trace is\n%s", id,
				left.Trace)
		}
		return nil
	})
}
