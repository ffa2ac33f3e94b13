package pool

import (
	"errors"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

const (
	// tolerated is how many workers in a row an image may have that fail by its
	// fault before it is spared, when none was ever ready.
	tolerated = 5
	// The pause between two tries of an image that is spared.
	firstTrialPause = 2 * time.Minute
	lastTrialPause  = 15 * time.Minute
	// trialLimit is how long others wait for a try that is under way before they
	// look again, which its end has them do at once.
	trialLimit = time.Hour
)

// breaker spares the host an image of which every worker fails. It is not safe for
// concurrent use: the mutex of starts guards it.
type breaker struct {
	// opened is called when the breaker opens, and when a try has failed; closed when
	// it closes, with the reason in words. They must not call back.
	opened func(store.Breaker)
	closed func(why string)

	failures int
	proven   bool // a worker of the image was ready
	open     *store.Breaker
	trying   bool
	pause    backoff
}

func newBreaker(opened func(store.Breaker), closed func(why string)) breaker {
	return breaker{opened: opened, closed: closed, pause: backoff{first: firstTrialPause, limit: lastTrialPause}}
}

// wait is how long no worker may begin.
func (b *breaker) wait(now time.Time) time.Duration {
	switch {
	case b.open == nil:
		return 0
	case b.trying:
		return trialLimit
	}
	return b.open.NextTry.Sub(now)
}

// begin says whether the worker that begins now is a try.
func (b *breaker) begin() bool {
	b.trying = b.open != nil
	return b.trying
}

// end is the end of a try, whatever came of it. A try that was called off leaves the
// next one to the worker that waits.
func (b *breaker) end() { b.trying = false }

// failed counts a failure, if it is the image's fault.
func (b *breaker) failed(by entry, image string, err error) {
	if b.proven || !imagesFault(err) {
		return
	}
	if b.failures++; b.failures < tolerated {
		return
	}
	now := time.Now()
	since := now
	if b.open != nil {
		if by != trial { // it began before the image was spared
			return
		}
		since = b.open.Since
	}
	b.open = &store.Breaker{
		ImageDigest: image, Failures: b.failures, Reason: brief{err}.Error(),
		Since: since, NextTry: now.Add(b.pause.grow()),
	}
	b.opened(*b.open)
}

// succeeded notes that the image is good.
func (b *breaker) succeeded() {
	b.reset("image is good after all: workers start as before")
	b.proven = true
}

// reset forgets all failures.
func (b *breaker) reset(why string) {
	if b.open != nil {
		b.closed(why)
	}
	*b = newBreaker(b.opened, b.closed)
}

// hostsLimits are errors of the kernel that no image is to blame for, wherever they
// came up.
var hostsLimits = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EROFS, syscall.EIO,
}

// imagesFault says whether a worker failed by its image's fault: because of what
// its guest did, or did not do in time. A start that the host could not make is not.
func imagesFault(err error) bool {
	for _, limit := range hostsLimits {
		if errors.Is(err, limit) {
			return false
		}
	}
	return errors.Is(err, guest.ErrFault)
}

// spare tells of an image that is spared, once in the log, and for those who look
// from outside as long as it is.
func (p *Pool) spare(b store.Breaker) {
	about := []any{"image", b.ImageDigest, "failures", b.Failures, "reason", b.Reason, "next_try", b.NextTry}
	if b.Failures == tolerated {
		p.log.Error("every worker of the image fails: it is tried one worker at a time from now on", about...)
	} else {
		p.log.Info("image fails on", about...)
	}
	p.history.notes(aboutStarts, b.String())
	if err := p.store.SaveBreaker(b); err != nil {
		p.log.Warn("record is out of date", "err", err)
	}
}

// spareNoMore tells that the image is not spared any more.
func (p *Pool) spareNoMore(why string) {
	p.log.Info(why)
	p.history.notes(aboutStarts, why)
	if err := p.store.ClearBreaker(); err != nil {
		p.log.Warn("record is out of date", "err", err)
	}
}
