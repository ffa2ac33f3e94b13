package pool

import (
	"context"
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

// turn is the permission to start one worker.
type turn struct {
	began time.Time
	// trial says that no other worker starts meanwhile, since the image is spared.
	trial bool
}

// acquire waits for a slot, and for the end of the back-off; release gives both
// back.
func (s *starts) acquire(ctx context.Context) (turn, error) {
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
		got, wait, changed := s.admit()
		if wait <= 0 {
			return got, nil
		}
		timer := time.NewTimer(wait)
		select { // it may have grown meanwhile
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// admit gives the turn, or says how long to wait before asking again.
func (s *starts) admit() (got turn, wait time.Duration, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait = max(s.resumeAt.Sub(now), s.breaker.wait(now))
	if wait > 0 {
		return turn{}, wait, s.changed
	}
	return turn{began: now, trial: s.breaker.begin()}, 0, nil
}

func (s *starts) release(t turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.trial {
		s.breaker.end()
	}
	s.lookAgain()
	<-s.slots // never waits: it holds one
}

// lookAgain wakes those who wait. The caller holds the mutex.
func (s *starts) lookAgain() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// failed notes that a start failed. One that was under way when the last one
// failed does not count for the back-off, so that one outage does not double the
// pause for each. Without an image it says nothing about one.
func (s *starts) failed(t turn, image string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image != "" {
		s.breaker.failed(image, err)
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
// about: each of them had succeeded before. Without an image it says nothing about
// one.
func (s *starts) succeeded(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image != "" {
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
	s.breaker.reset()
	s.lookAgain()
}
