package pool

import (
	"context"
	"fmt"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// silences is how many answers of a worker may be missing in a row before it is
// given up: a busy guest is slow.
const silences = 3

// Watcher is an Access that can tell whether a worker still answers. A machine that
// runs may have lost its network, its SSH server, or all its memory.
type Watcher interface {
	// Answers is nil when the worker answers at the address, or when somebody is
	// connected to it: a job may do with its worker what it likes, and the runner
	// notices when the connection is dead.
	Answers(ctx context.Context, addr netip.AddrPort) error
}

// watch returns why a worker that runs is to be given up, or the cause of ctx.
func (p *Pool) watch(ctx context.Context, machine backend.Machine) error {
	watcher, ok := p.access.(Watcher)
	for silent := 0; ; {
		if err := sleep(ctx, p.config.WatchInterval); err != nil {
			return err
		}
		if !ok {
			continue
		}
		err := p.answers(ctx, watcher, machine.Address())
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			silent = 0
			continue
		}
		if silent++; silent == silences {
			return guest.Fault(fmt.Errorf("nobody answers in %s any more, %d times in a row: %w%s",
				machine.ID(), silences, err, p.tail(machine.ID())))
		}
	}
}

// answers gives a worker half of the time between two questions for its answer.
func (p *Pool) answers(ctx context.Context, watcher Watcher, addr netip.AddrPort) error {
	limit := p.config.WatchInterval / 2
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	return watcher.Answers(ctx, addr)
}
