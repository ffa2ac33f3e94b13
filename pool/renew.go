package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// The pause after a renewal that failed. What it needs, such as a mirror, may be back
// soon; a recipe that does not work any more costs a build each time.
const (
	firstRenewalPause = 5 * time.Minute
	lastRenewalPause  = 4 * time.Hour
)

// refreshCheck is how often is looked whether an image has grown old: a timer would not
// notice that the host was asleep, or its clock set.
const refreshCheck = time.Minute

// Commander is an Access that can run a command in a worker.
type Commander interface {
	// Run runs a shell command as the worker's user, as jobs do. That it fails is an
	// error, which says what the command said last.
	Run(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key Key, command string) error
}

// firstRecipe is that of the image that the pool begins with: of those that are there,
// the one that it served last, or else the newest, so that nobody waits for a build. The
// present edition is then made beside it.
func (p *Pool) firstRecipe() image.Recipe {
	recipe := p.config.Recipe
	recipe.Edition = p.config.Refresh.Edition(time.Now())
	if recipe.Edition == "" {
		return recipe
	}
	there, err := p.images.Editions(recipe)
	if len(there) == 0 {
		if err != nil {
			p.log.Warn("an older image would not be found", "err", err)
		}
		return recipe
	}
	begin := there[0]
	ahead := func(g image.Golden) bool { return p.config.Refresh.Ahead(g.Recipe.Edition, time.Now()) }
	if i := slices.IndexFunc(there, func(g image.Golden) bool { return !ahead(g) }); i >= 0 {
		begin = there[i]
	}
	served, known, err := p.store.Served()
	if err != nil {
		p.log.Warn("the pool begins with the newest image", "err", err)
	}
	for _, golden := range there {
		if known && golden.Digest == served.ImageDigest {
			begin = golden
		}
	}
	recipe.Edition = begin.Recipe.Edition
	return recipe
}

// renewals is how the last ones went.
type renewals struct {
	// served is the digest of the image that is noted as the one that is served.
	served   string
	failures int // in a row
	// fromScratch says that the last image was at fault itself, which may be that of the
	// layers that it was built on.
	fromScratch bool
	pause       backoff
}

// keepFresh has the image made anew at the beginning of each period, beside the workers
// that run, until the pool closes. As long as that fails, the one that is there stays.
func (p *Pool) keepFresh() {
	if p.config.Refresh == (image.Refresh{}) {
		if err := p.store.ClearServed(); err != nil {
			p.log.Warn("record is out of date", "err", err)
		}
		return
	}
	last := renewals{pause: backoff{first: firstRenewalPause, limit: lastRenewalPause}}
	for {
		golden, err := p.golden.wait(p.growing)
		if p.growing.Err() != nil {
			return
		}
		if err != nil {
			continue // that is in the log already, and the next wait is for the next try
		}
		if last.served != golden.Digest {
			last.served = golden.Digest
			p.noteServed(golden, nil)
		}
		if sleep(p.growing, p.refresh(golden, &last)) != nil {
			return
		}
	}
}

// refresh renews the image if it has grown old, and returns how long to wait before
// looking again.
func (p *Pool) refresh(golden image.Golden, last *renewals) (wait time.Duration) {
	now := time.Now()
	edition := p.config.Refresh.Edition(now)
	if p.config.Refresh.Fresh(golden.Recipe.Edition, now) {
		return min(refreshCheck, p.config.Refresh.Next(now).Sub(now))
	}
	err := p.renew(golden, edition, last.fromScratch)
	if err == nil {
		last.failures, last.fromScratch = 0, false
		last.pause.reset()
		return 0
	}
	if p.growing.Err() != nil {
		return 0
	}
	last.failures++
	last.fromScratch = last.fromScratch || imagesFault(err)
	wait, now = last.pause.grow(), time.Now()
	p.log.Error("renewing the golden image failed: workers are made from the one that is there",
		"image", golden.Digest, "edition", edition, "failures", last.failures, "err", printable{err}, "again_in", wait)
	p.history.notes(aboutRenewal, "it failed: "+err.Error())
	p.noteServed(golden, &store.FailedRenewal{
		Edition: edition, Failures: last.failures, Reason: brief{printable{err}}.Error(),
		At: now, NextTry: now.Add(wait),
	})
	return wait
}

func (p *Pool) noteServed(golden image.Golden, failed *store.FailedRenewal) {
	err := p.store.SaveServed(store.Served{
		ImageDigest: golden.Digest, Edition: golden.Recipe.Edition, Since: time.Now(), Failed: failed,
	})
	if err != nil {
		p.log.Warn("record is out of date", "err", err)
	}
}

// renew has an edition made, tries it, and has workers be made from it from then on. The
// workers of the former image live on: an idle one serves its next job, for nobody but
// the runner knows whether it has given it one already.
func (p *Pool) renew(former image.Golden, edition string, fromScratch bool) error {
	recipe := p.config.Recipe
	recipe.Edition, recipe.GivesWay, recipe.FromScratch = edition, true, fromScratch
	began := time.Now()
	golden, done, err := p.make(p.growing, recipe, aboutRenewal, func(log *slog.Logger, reason string) {
		log.Warn("golden image is not renewed yet", "reason", reason)
	})
	if err != nil {
		return fmt.Errorf("building it: %w", err)
	}
	if err = p.prove(golden, former); err == nil {
		p.golden.serve(golden)
		p.starts.renewed()
		p.restock()
		p.history.notes(aboutRenewal, "new workers are made from image "+golden.Digest)
		p.log.Info("golden image is renewed: new workers are made from it",
			"image", golden.Digest, "edition", edition, "former", former.Digest,
			"took", time.Since(began).Round(time.Millisecond))
	}
	done()
	if p.growing.Err() == nil && imagesFault(err) { // or the next try would find it again
		p.remove("no worker of it may be used",
			func(g image.Golden, _ time.Time) bool { return g.Digest == golden.Digest })
	}
	return err
}

// prove takes an image as far as workers need it: one of them has passed, and there is
// what others are forked from. Where the former image has no template either, workers are
// clones of the new one too.
func (p *Pool) prove(golden, former image.Golden) error {
	if err := p.tryCanary(p.growing, golden); err != nil {
		return fmt.Errorf("trying its first worker: %w", err)
	}
	forker, ok := p.backend.(backend.Forker)
	if !ok {
		return nil
	}
	log := p.log.With("image", golden.Digest)
	err := p.awaitDisk(p.growing, func(reason string) { log.Warn("no template is made yet", "reason", reason) })
	if err == nil {
		err = forker.Prepare(p.growing, golden, p.size(), p.golden.inUse(), nil,
			p.progress(log, "making the template", aboutRenewal))
	}
	switch {
	case err == nil:
		return nil
	case p.growing.Err() == nil && !imagesFault(err) && !p.hasTemplate(p.growing, former):
		log.Warn("no template: workers of the renewed image are clones, as before", "err", err)
		return nil
	}
	return fmt.Errorf("making its template: %w", err)
}

// canaryPatience is how many times longer than other workers a canary may take to start: it
// has a quarter of their share of the processors.
const canaryPatience = 4

// canaryWait is how long a canary waits for room on the host: it takes none that a worker
// waits for.
const canaryWait = time.Hour

// tryCanary makes a worker of the image that the runner never sees, has it pass all that
// a worker passes, and then the checks of the configuration. It is gone at the end.
func (p *Pool) tryCanary(ctx context.Context, golden image.Golden) (err error) {
	p.mu.Lock()
	id := p.newID()
	p.mu.Unlock()
	log := p.log.With("worker", id, "image", golden.Digest)
	log.Info("renewed image is tried with a worker")
	defer func() {
		if err != nil && ctx.Err() == nil {
			p.keepEnd(id, printable{err})
		}
		p.discard(id, cmp.Or(err, errTried), err == nil || ctx.Err() != nil)
	}()
	p.history.begins(id, ledger.Canary, time.Now())
	clock := p.newStopwatch(id)
	clock.enter(PhaseWaitDisk)
	if err := p.reserve(ctx, id); err != nil {
		return err
	}
	record := store.Record{
		ID: id, State: string(Canary), CreatedAt: time.Now(),
		ImageDigest: golden.Digest, User: p.config.Recipe.User,
	}
	p.note(record)
	clock.enter(PhaseWaitBudget)
	if err := p.awaitCanaryRoom(ctx, id); err != nil {
		return err
	}
	machine, record, err := p.start(ctx, &worker{id: id}, golden, record, clock, Canary)
	if err != nil {
		return err
	}
	p.history.ready(record)
	log.Info("worker of the renewed image is ready", clock.fields()...)
	for i, command := range p.config.Check {
		if err := p.check(ctx, machine, record, command); err != nil {
			return fmt.Errorf("image.check[%d]: %w", i, err)
		}
	}
	return nil
}

// errTried is why the canary of a good image ends.
var errTried = errors.New("the renewed image is tried")

func (p *Pool) awaitCanaryRoom(ctx context.Context, id string) error {
	late := fmt.Errorf("there was no room on the host for it within %s", canaryWait)
	ctx, cancel := context.WithTimeoutCause(ctx, canaryWait, late)
	defer cancel()
	for {
		fits, err := p.budget.ReserveSpare(ctx, id, p.cost())
		if fits || err != nil {
			return err
		}
		if err := sleep(ctx, spareCheck); err != nil {
			return err
		}
	}
}

// errCannotCheck says that nobody can run a command in workers.
var errCannotCheck = errors.New("this backend's workers take no commands")

// check runs one command in a canary. It has as long as a worker's start. One that fails, or
// does not end, is the image's fault.
func (p *Pool) check(ctx context.Context, machine backend.Machine, record store.Record, command string) error {
	commander, ok := p.access.(Commander)
	if !ok {
		return errCannotCheck
	}
	late := fmt.Errorf("it did not end within machine.start_timeout, %s", p.config.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout, late)
	defer cancel()
	ctx, stop := backend.WhileRunning(ctx, machine)
	defer stop()
	err := commander.Run(ctx, record.Address, record.Identity(), Key(record.PrivateKey), command)
	var exit *guest.ExitError
	switch gone := machine.Err(); {
	case err != nil && gone != nil:
		return gone
	case errors.Is(err, late) || errors.As(err, &exit):
		return guest.Fault(err)
	}
	return err
}
