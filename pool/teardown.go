package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
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
		Budget:    []teardown.Step{p.budget.Release},
		Directory: p.store.Remove,
	}.Run(ctx, id)
}

// discard tears down a worker that the runner has never seen, or sees no more.
func (p *Pool) discard(id string, reason error, asked bool) {
	p.history.ends(id, reason, asked)
	p.teardownAgain(id, p.teardown(id))
}

// teardownAgain goes on after a first teardown, whose outcome is err, until one
// succeeds. It returns false when Close gives up first.
func (p *Pool) teardownAgain(id string, err error) bool {
	pause := backoff{first: firstTeardownPause, limit: lastTeardownPause}
	for err != nil {
		wait := pause.grow()
		p.log.Error("tearing a worker down failed", "worker", id, "err", err, "again_in", wait)
		p.recordEnd(id, err)
		p.history.waits(id, err.Error())
		// A pool that closes has no time for long pauses.
		if sleep(p.growing, wait) != nil && sleep(p.reaping, firstTeardownPause) != nil {
			return false
		}
		err = p.teardown(id)
	}
	p.history.gone(id)
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
	p.note(record)
}

// keepEnd keeps why a worker has ended unasked, with the end of its console, before
// its directory goes. Of one that never had a machine the log says all there is.
func (p *Pool) keepEnd(id string, reason error) {
	record, err := p.store.Load(id)
	if err != nil || record.HostKeyPublic == "" {
		return
	}
	console := ""
	if c, ok := p.backend.(backend.Console); ok {
		console = c.ConsolePath(p.store.Dir(id))
	}
	err = p.store.KeepEnd(store.Ended{
		ID: id, Reason: reason.Error(), How: record.How, ImageDigest: record.ImageDigest,
		CreatedAt: record.CreatedAt, ReadyAt: record.ReadyAt, EndedAt: time.Now(),
	}, console)
	if err != nil {
		p.log.Warn("the end of a worker is not kept", "worker", id, "err", err)
	}
}
