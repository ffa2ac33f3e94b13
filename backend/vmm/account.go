//go:build linux

package vmm

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Usage is what the machine's control group has taken. A machine that has had none, such
// as one of a host without them, has taken what is not known.
func (b *Backend) Usage(id string) (backend.Usage, error) { return b.units.Usage(id) }

// Job asks the agent in a worker's guest.
func (b *Backend) Job(ctx context.Context, id string) (job guest.Job, seen bool, err error) {
	b.mu.Lock()
	m := b.machines[id]
	b.mu.Unlock()
	if m == nil {
		return guest.Job{}, false, nil
	}
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	err = m.talk(ctx, func(ctx context.Context, agent *guest.Client) error {
		job, seen, err = agent.Job(ctx)
		return err
	})
	return job, seen, err
}
