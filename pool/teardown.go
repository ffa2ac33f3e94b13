package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// How long one try at a teardown may take, and the pause after one that failed.
const (
	teardownTimeout    = 30 * time.Second
	firstTeardownPause = time.Second
	lastTeardownPause  = time.Minute
)

// teardown is the only way in which a worker goes, be it deleted, failed, an
// orphan, or part of a pool that closes.
func (p *Pool) teardown(id string) error {
	ctx, cancel := context.WithTimeout(p.reaping, teardownTimeout)
	defer cancel()
	others := p.othersOrphans[id]
	return teardown.Steps{
		Machine:   append(others.Machine, p.backend.Destroy),
		Lease:     append(others.Lease, p.network.Release),
		Directory: p.store.Remove,
	}.Run(ctx, id)
}

// teardownAgain goes on after a first teardown, whose outcome is err, until one
// succeeds. It returns false when Close gives up first.
func (p *Pool) teardownAgain(id string, err error) bool {
	pause := backoff{first: firstTeardownPause, limit: lastTeardownPause}
	for err != nil {
		wait := pause.grow()
		p.log.Error("tearing a worker down failed", "worker", id, "err", err, "again_in", wait)
		p.recordEnd(id, err)
		// A pool that closes has no time for long pauses.
		if sleep(p.growing, wait) != nil && sleep(p.reaping, firstTeardownPause) != nil {
			return false
		}
		err = p.teardown(id)
	}
	return true
}

// recordEnd writes into the record why a worker is being deleted, or cannot be,
// for people who look at the pool from outside. Where no record can be read, it
// writes nothing.
func (p *Pool) recordEnd(id string, reason error) {
	record, err := p.store.Load(id)
	if err != nil {
		return
	}
	record.State, record.Reason = string(Deleting), reason.Error()
	if err := p.store.Save(record); err != nil {
		p.log.Warn("record is out of date", "worker", id, "err", err)
	}
}
