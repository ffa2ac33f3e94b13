package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Hold says which workers stay for a post-mortem when the runner gives them back.
type Hold struct {
	// JobsAsk says that a job may ask for it; the operator always may.
	JobsAsk bool
	// For is how long a worker is held, and Max how many are at once.
	For time.Duration
	Max int
	// Save has them saved to disk at once, where that can be done, so that they take no
	// memory.
	Save bool
}

// Asker is an Access that can find out whether a job asked for its worker to be held.
type Asker interface {
	// HoldAsked logs in and looks. Words are the job's.
	HoldAsked(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key Key) (
		words string, asked bool, err error)
}

// askLimit is how long a worker may take to say whether its job asked for anything.
const askLimit = 30 * time.Second

// Why a worker is not held, or not any more.
var (
	errNotHeld    = errors.New("worker is not held: `hold` it first")
	errHoldOver   = errors.New("its time is over")
	errCannotSave = errors.New("its backend cannot save a machine")
)

// hold is a worker that is held. Its record is its goroutine's, as any worker's.
type hold struct {
	id string
	// end ends the hold, and with it the worker.
	end context.CancelCauseFunc
	// changed says that until has changed. save asks for the machine to be saved, unless
	// it is, and wants to know how that ended.
	changed chan struct{}
	save    chan chan<- error
	// over is closed when the hold ends, before the worker does.
	over <-chan struct{}

	// until is guarded by the pool's mutex.
	until time.Time
}

// wish is that a worker be held.
type wish struct {
	why   string
	limit time.Duration
}

// Hold has a worker be held for so long, or, when limit is 0, for as long as the
// configuration says: one that runs from the time on when the runner gives it back, and one
// that is held from now on.
func (p *Pool) Hold(id string, limit time.Duration) error {
	limit = cmp.Or(limit, p.config.Hold.For)
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.held[id]; h != nil {
		h.until = time.Now().Add(limit)
		select {
		case h.changed <- struct{}{}:
		default: // it has not looked since the last time
		}
		return nil
	}
	w, known := p.workers[id]
	switch {
	case p.closing:
		return ErrClosing
	case !known:
		return fmt.Errorf("worker %s: %w%s", id, ErrUnknown, p.recall(id))
	case w.state != Running:
		return fmt.Errorf("worker %s is %s: %w", id, w.state, ErrNotRunning)
	}
	if err := p.roomToHold(); err != nil {
		return err
	}
	w.wish = &wish{"the operator asked for it", limit}
	return nil
}

// roomToHold says why no other worker can be held. The caller holds the mutex.
func (p *Pool) roomToHold() error {
	if len(p.held) >= p.config.Hold.Max {
		return fmt.Errorf("%d workers are held already, as many as hold.max allows: `rm` one", len(p.held))
	}
	return nil
}

// End ends a worker, whoever uses it, or a fork of one that is held, and returns at once.
func (p *Pool) End(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.held[id]; h != nil {
		h.end(errRemoved)
		return nil
	}
	if end := p.forksOfHeld[id]; end != nil {
		end(errRemoved)
		return nil
	}
	w, known := p.workers[id]
	switch {
	case !known:
		return fmt.Errorf("worker %s: %w%s", id, ErrUnknown, p.recall(id))
	case w.state != Deleting && w.state != Deleted:
		w.state, w.reason = Deleting, errRemoved.Error()
		w.end(errRemoved)
	}
	return nil
}

// postMortem holds a worker that the runner gave back, if that was asked for, and returns
// why the hold ended. Otherwise it returns at once that the worker was not held.
func (p *Pool) postMortem(w *worker, reason error) (over error, wasHeld bool) {
	if !errors.Is(reason, errShrunk) || w.machine == nil || w.machine.Err() != nil {
		return nil, false
	}
	wish := p.wishFor(w)
	if wish == nil {
		return nil, false
	}
	ctx, h, err := p.beginHold(w, *wish)
	if err != nil {
		p.log.Warn("worker is not held", "worker", w.id, "asked_by", wish.why, "err", err)
		return nil, false
	}
	p.log.Info("worker is held", "worker", w.id, "until", h.until, "why", wish.why)
	return p.keepHeld(ctx, w, h), true
}

// wishFor is why a worker is to be held; nil when nobody asked for that. A worker that does
// not say so in time is taken for one whose job did not ask.
func (p *Pool) wishFor(w *worker) *wish {
	p.mu.Lock()
	asked := w.wish
	p.mu.Unlock()
	asker, can := p.access.(Asker)
	if asked != nil || !can || !p.config.Hold.JobsAsk {
		return asked
	}
	ctx, cancel := context.WithTimeoutCause(p.growing, askLimit, fmt.Errorf("no answer within %s", askLimit))
	defer cancel()
	ctx, stop := backend.WhileRunning(ctx, w.machine)
	defer stop()
	words, yes, err := asker.HoldAsked(ctx, w.record.Address, w.record.Identity(), Key(w.record.PrivateKey))
	switch {
	case err != nil && p.growing.Err() == nil:
		p.log.Warn("worker does not say whether its job wants it held", "worker", w.id, "err", printable{err})
		return nil
	case err != nil || !yes:
		return nil
	}
	why := "its job asked for it"
	if words = lines.Printable(words); words != "" {
		why += ", and says: " + words
	}
	return &wish{why, p.config.Hold.For}
}

// beginHold has the runner see a worker as deleted that is held from now on. It says so in
// the record first, and lets the guest begin nothing any more. What the worker holds of the
// host it goes on to hold.
func (p *Pool) beginHold(w *worker, wish wish) (context.Context, *hold, error) {
	now := time.Now()
	h := newHold(w.id, now.Add(wish.limit))
	ctx, err := p.addHeld(h, true)
	if err != nil {
		return nil, nil, err
	}
	record := w.record
	record.State = string(Held)
	record.Held = &store.Held{Since: now, Until: h.until, Why: wish.why}
	err = p.store.Save(record)
	if isolator, ok := p.network.(network.Isolator); ok && err == nil {
		err = isolator.Isolate(ctx, w.id)
	}
	if err != nil {
		p.forgetHeld(h)
		return nil, nil, err
	}
	w.record = record
	p.mu.Lock()
	defer p.mu.Unlock()
	w.state = Deleted
	p.restock()
	return ctx, h, nil
}

func newHold(id string, until time.Time) *hold {
	return &hold{id: id, changed: make(chan struct{}, 1), save: make(chan chan<- error), until: until}
}

// addHeld adds a worker to those that are held. Bounded says that there is a bound to them.
func (p *Pool) addHeld(h *hold, bounded bool) (context.Context, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil, ErrClosing
	}
	if err := p.roomToHold(); bounded && err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(p.growing)
	h.end, h.over = end, ctx.Done()
	p.held[h.id] = h
	return ctx, nil
}

func (p *Pool) forgetHeld(h *hold) {
	h.end(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, h.id)
}

// keepHeld keeps a held worker until its time is over, its machine ends, somebody removes it
// or the pool closes, and returns why it ends. It is errKept for one that stays for the next
// process.
func (p *Pool) keepHeld(ctx context.Context, w *worker, h *hold) (reason error) {
	defer p.forgetHeld(h)
	p.history.enters(w.id, ledger.Held)
	if p.config.Hold.Save {
		err := p.saveHeld(ctx, w)
		if err != nil && !runsOn(err) {
			return fmt.Errorf("held worker ends: %w", err)
		}
		if err != nil {
			p.log.Warn("held worker runs on, and takes memory", "worker", w.id, "err", err)
		}
	}
	for {
		var gone <-chan struct{} // never, of one that is saved
		if w.machine != nil {
			gone = w.machine.Done()
		}
		timer := time.NewTimer(p.heldFor(w, h))
		select {
		case <-timer.C:
			if p.heldFor(w, h) <= 0 {
				return fmt.Errorf("held worker ends: %w", errHoldOver)
			}
		case <-h.changed:
		case answer := <-h.save:
			err := p.saveHeld(ctx, w)
			answer <- err
			if err != nil && !runsOn(err) {
				return fmt.Errorf("held worker ends: %w", err)
			}
		case <-gone:
			return fmt.Errorf("held worker ends: %w", w.machine.Err())
		case <-ctx.Done():
			timer.Stop()
			return p.leaveHeld(w, context.Cause(ctx))
		}
		timer.Stop()
	}
}

// heldFor is how long a worker is still to be held. It has the record say so.
func (p *Pool) heldFor(w *worker, h *hold) time.Duration {
	p.mu.Lock()
	until := h.until
	p.mu.Unlock()
	if !until.Equal(w.record.Held.Until) {
		changed := *w.record.Held
		changed.Until = until
		w.record.Held = &changed
		p.note(w.record)
	}
	return time.Until(until)
}

// runsOn says that a machine that could not be saved is as it was.
func runsOn(err error) bool {
	return errors.Is(err, errCannotSave) || errors.Is(err, backend.ErrRunsOn)
}

// saveHeld puts a held worker's machine away, memory included, unless that was done. It does
// so also while the pool closes. One that there was no room for runs on.
func (p *Pool) saveHeld(ctx context.Context, w *worker) error {
	if w.record.Held.Saved {
		return nil
	}
	suspender, can := p.suspender()
	if !can {
		return errCannotSave
	}
	ctx, cancel := p.beyondClosing(ctx)
	defer cancel()
	limited, cancel := context.WithTimeout(ctx, suspendTimeout)
	defer cancel()
	if err := suspender.Suspend(limited, w.id); err != nil {
		return fmt.Errorf("saving held worker %s: %w", w.id, err)
	}
	w.machine = nil
	record, saved := w.record, *w.record.Held
	saved.Saved = true
	record.Held = &saved
	if err := p.putAway(ctx, suspender, record); err != nil {
		return fmt.Errorf("saving held worker %s: %w", w.id, err)
	}
	w.record = record
	return nil
}

// leaveHeld is why a hold ends that was called off. When the pool closes, a worker that can
// be saved stays for the next process; no process could take over a machine that runs.
func (p *Pool) leaveHeld(w *worker, cause error) error {
	if !errors.Is(cause, ErrClosing) {
		return cause
	}
	if err := p.saveHeld(p.growing, w); err != nil {
		return fmt.Errorf("held worker ends with its plugin: %w", err)
	}
	return errKept
}

// adoptHeld takes over a saved worker that an earlier process held.
func (p *Pool) adoptHeld(record store.Record) error {
	h := newHold(record.ID, record.Held.Until)
	ctx, err := p.addHeld(h, false)
	if err != nil {
		return err
	}
	w := &worker{id: record.ID, createdAt: record.CreatedAt, end: func(error) {}, done: func() {}, record: record}
	p.running.Go(func() {
		if reason := p.keepHeld(ctx, w, h); !errors.Is(reason, errKept) {
			p.log.Info("worker ends", "worker", w.id, "reason", reason)
			p.finish(w, reason, true)
		}
	})
	return nil
}
