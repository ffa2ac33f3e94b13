package pool

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The pause after a failed start.
const (
	firstStartPause = time.Second
	lastStartPause  = time.Minute
)

// early is how soon after it was ready a worker ends too early, if nobody asked for
// its end: more such workers would most likely end the same way.
const early = time.Minute

// starts limits how many workers are made at once, and lets none begin for a
// while after one has failed, to spare a host on which nothing starts. An image of
// which every worker fails is tried one worker at a time, and seldom (breaker.go).
type starts struct {
	slots   chan struct{}
	breaker breaker

	mu       sync.Mutex // guards all below, and the breaker
	pause    backoff
	failedAt time.Time // when the last failure that counted was
	resumeAt time.Time // no start before that
	// short is the pause after a worker that ended too early. It is beside the
	// other because such a worker was a start that succeeded.
	short backoff
	// changed is closed when those who wait are to look again.
	changed chan struct{}
}

func newStarts(atOnce int, breaker breaker) *starts {
	return &starts{
		slots:   make(chan struct{}, max(atOnce, 1)),
		breaker: breaker,
		pause:   backoff{first: firstStartPause, limit: lastStartPause},
		short:   backoff{first: firstStartPause, limit: lastStartPause},
		changed: make(chan struct{}),
	}
}

// entry is what a worker may start by.
type entry int

const (
	ordinary entry = iota // while the image is not spared
	trial                 // it is the one by which a spared image is tried
	exempt                // it is not of the image: it is suspended, or was begun before a renewal
)

// turn is the permission to start one worker.
type turn struct {
	began time.Time
	by    entry
}

// errSpared says that the image has come to be spared while a worker waited.
var errSpared = errors.New("the image is spared")

// enter waits while the image is spared, and then for the turn to try it. Whoever
// waits here holds nothing of the host. A trial is ended by leave.
func (s *starts) enter(ctx context.Context) (entry, error) {
	for {
		if ctx.Err() != nil {
			return ordinary, context.Cause(ctx)
		}
		by, wait, changed := s.enterNow()
		if wait <= 0 {
			return by, nil
		}
		await(ctx, wait, changed)
	}
}

// enterNow says by what a worker may start, or how long to wait before asking again.
func (s *starts) enterNow() (by entry, wait time.Duration, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait = s.breaker.wait(time.Now()); wait > 0 {
		return ordinary, wait, s.changed
	}
	if s.breaker.begin() {
		by = trial
	}
	return by, 0, nil
}

// spares says whether the image is spared now.
func (s *starts) spares() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breaker.open != nil
}

// leave lets the next one try the image.
func (s *starts) leave(by entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == trial {
		s.breaker.end()
	}
	s.lookAgain()
}

// await waits for a time, for a change, or for the end of ctx.
func await(ctx context.Context, wait time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// acquire waits for a slot, and for the end of the back-off; release gives both
// back. The error is errSpared when the worker has to enter anew.
func (s *starts) acquire(ctx context.Context, by entry) (turn, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return turn{}, context.Cause(ctx)
	}
	for {
		if ctx.Err() != nil { // both were ready, and select took the slot
			<-s.slots
			return turn{}, context.Cause(ctx)
		}
		spared, wait, changed := s.admit(by)
		switch {
		case spared:
			<-s.slots
			return turn{}, errSpared
		case wait <= 0:
			return turn{began: time.Now(), by: by}, nil
		}
		await(ctx, wait, changed) // it may have grown meanwhile
	}
}

// admit says that a worker may begin, that it may not because its image is spared,
// or how long to wait before asking again.
func (s *starts) admit(by entry) (spared bool, wait time.Duration, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == ordinary && s.breaker.open != nil {
		return true, 0, nil
	}
	return false, time.Until(s.resumeAt), s.changed
}

func (s *starts) release(t turn) {
	s.leave(t.by)
	<-s.slots // never waits: it holds one
}

// lookAgain wakes those who wait. The caller holds the mutex.
func (s *starts) lookAgain() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// failed notes that a start failed. One that was under way when the last one
// failed does not count for the back-off, so that one outage does not double the
// pause for each.
func (s *starts) failed(t turn, image string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.by != exempt {
		s.breaker.failed(t.by, image, err)
		s.lookAgain() // those who wait for a slot may have to go
	}
	s.backOff(t.began, &s.pause)
}

// backOff lets no worker begin for a while. The caller holds the mutex.
func (s *starts) backOff(began time.Time, pause *backoff) {
	if !began.After(s.failedAt) {
		return
	}
	s.failedAt = time.Now()
	s.resumeAt = s.failedAt.Add(pause.grow())
}

// succeeded ends the back-off, but not what workers that ended too early brought
// about: each of them had succeeded before.
func (s *starts) succeeded(t turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.by != exempt {
		s.breaker.succeeded()
	}
	s.pause.reset()
	if s.short.next == 0 {
		s.resumeAt = time.Time{}
	}
	s.lookAgain()
}

// endedEarly notes that a worker that was ready at a time has ended too early.
func (s *starts) endedEarly(readyAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backOff(readyAt, &s.short)
}

// lasted notes that a worker has not ended too early.
func (s *starts) lasted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short.reset()
}

// renewed forgets what was held against an image that is built anew.
func (s *starts) renewed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breaker.reset("image is built anew: workers start as before")
	s.lookAgain()
}
