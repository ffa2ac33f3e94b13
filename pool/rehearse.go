package pool

import (
	"context"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

const (
	// rehearsalLimit bounds a rehearsal, and the wait for its turn.
	rehearsalLimit = time.Minute
	// rehearsalCheck is how often a worker looks whether the host is quiet enough.
	rehearsalCheck = 200 * time.Millisecond
)

// Rehearser is an Access that can have an idle worker do what jobs begin with. By
// emulation a machine translates code when that runs for the first time, and keeps what
// it has translated: whatever ran before is several times faster in the job.
type Rehearser interface {
	// Rehearse does it once and leaves nothing behind. A worker that has a job already
	// is left alone.
	Rehearse(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key Key) error
}

// rehearse has an emulated worker rehearse while it waits for its job: one worker at a
// time, and none while others are on their way up. One that fails is only slower.
func (p *Pool) rehearse(ctx context.Context, record store.Record) {
	rehearser, ok := p.access.(Rehearser)
	if !ok || record.Acceleration != backend.Emulated {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rehearsalLimit)
	defer cancel()
	select {
	case p.stage <- struct{}{}:
		defer func() { <-p.stage }()
	case <-ctx.Done():
		return
	}
	for p.growsNow() {
		if sleep(ctx, rehearsalCheck) != nil {
			return
		}
	}
	identity := guest.Identity{Hostname: record.ID, User: record.User, HostKeyPublic: record.HostKeyPublic}
	began := time.Now()
	err := rehearser.Rehearse(ctx, record.Address, identity, Key(record.PrivateKey))
	if ctx.Err() == nil {
		p.log.Debug("worker has rehearsed", "worker", record.ID, "took", time.Since(began), "err", err)
	}
}

// growsNow says whether a worker is on its way up.
func (p *Pool) growsNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isGrowing()
}

// isGrowing is growsNow for a caller who holds the mutex.
func (p *Pool) isGrowing() bool {
	for _, w := range p.workers {
		if w.state == Creating || w.state == Resuming {
			return true
		}
	}
	return false
}
