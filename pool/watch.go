package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

const (
	// watchInterval is how often a worker that runs is asked whether it answers. It is
	// long, because each answer costs the guest a process.
	watchInterval = time.Minute
	// answerLimit is how long one answer may take, and silences how many may be
	// missing in a row, before the worker is given up: a busy guest is slow.
	answerLimit = 30 * time.Second
	silences    = 3
)

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
		if err := sleep(ctx, watchInterval); err != nil {
			return err
		}
		if !ok {
			continue
		}
		err := answers(ctx, watcher, machine.Address())
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

func answers(ctx context.Context, watcher Watcher, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, errors.New("no answer within "+answerLimit.String()))
	defer cancel()
	return watcher.Answers(ctx, addr)
}
