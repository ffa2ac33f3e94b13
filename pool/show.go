package pool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Workers says how all workers are doing, the oldest first. Only what reports to
// the runner may call it, because each call changes what the next one shows: a
// worker that Grow counted shows as creating, running or deleting at least once,
// then, when nothing of it is left, exactly once as deleted, and never again. The
// runner relies on that.
func (p *Pool) Workers() []Worker {
	workers := p.report()
	slices.SortFunc(workers, func(a, b Worker) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return workers
}

func (p *Pool) report() []Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	workers := make([]Worker, 0, len(p.workers))
	for id, w := range p.workers {
		shown := w.show()
		if shown.State == Deleted {
			delete(p.workers, id)
			p.forgotten = append(p.forgotten, forgotten{id, w.reason})
			p.forgotten = p.forgotten[max(0, len(p.forgotten)-mostForgotten):]
		}
		workers = append(workers, shown)
	}
	return workers
}

// show returns what the runner gets to see of a worker. One that is gone before it
// was ever shown shows as creating first: a runner that meets an id as deleted
// never drops it.
func (w *worker) show() Worker {
	shown := Worker{ID: w.id, State: w.state, Reason: w.reason, CreatedAt: w.createdAt}
	if w.state == Deleted && !w.shown {
		shown.State, shown.Reason = Creating, ""
	}
	w.shown = true
	return shown
}

// Connection is how a job gets into a worker.
type Connection struct {
	Address    netip.AddrPort
	User       string
	PrivateKey string // in PEM form, without a passphrase
	OS         string // the guest's system, as Go names it
}

// Connection says how a job gets into a worker, which must be running.
func (p *Pool) Connection(id string) (Connection, error) {
	machine, record, err := p.find(id)
	if err != nil {
		return Connection{}, err
	}
	c := Connection{Address: record.Address, User: record.User, PrivateKey: record.PrivateKey, OS: "linux"}
	if foreign, ok := machine.(backend.Foreign); ok {
		c.OS = foreign.OS()
	}
	return c, nil
}

// Heartbeat returns an error unless a worker is running. It asks nothing of
// the worker itself.
func (p *Pool) Heartbeat(id string) error {
	machine, _, err := p.find(id)
	if err != nil {
		return err
	}
	if err := machine.Err(); err != nil {
		return fmt.Errorf("worker %s: %w", id, err)
	}
	return nil
}

// mostForgotten is of how many workers that are gone the reason is known.
const mostForgotten = 100

// forgotten is a worker that is gone, and why.
type forgotten struct{ id, reason string }

// recall is the reason of a worker that is gone as the end of an error's text. The
// caller holds the mutex.
func (p *Pool) recall(id string) string {
	for _, gone := range p.forgotten {
		if gone.id == id {
			return ": it has ended: " + gone.reason
		}
	}
	return ""
}

// find returns the machine and the record of a worker that is running.
func (p *Pool) find(id string) (backend.Machine, store.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, known := p.workers[id]
	switch {
	case !known:
		return nil, store.Record{}, fmt.Errorf("worker %s: %w%s", id, ErrUnknown, p.recall(id))
	case w.state != Running && w.reason != "":
		return nil, store.Record{}, fmt.Errorf("worker %s is %s: %w: %s", id, w.state, ErrNotRunning, w.reason)
	case w.state != Running:
		return nil, store.Record{}, fmt.Errorf("worker %s is %s: %w", id, w.state, ErrNotRunning)
	}
	return w.machine, w.record, nil
}
