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

// starts limits how many workers are made at once, and lets none begin for a
// while after one has failed, to spare a host on which nothing starts.
type starts struct {
	slots chan struct{}

	mu       sync.Mutex
	pause    backoff
	failedAt time.Time // when the last failure that counted was
	resumeAt time.Time // no start before that
}

func newStarts(atOnce int) *starts {
	return &starts{
		slots: make(chan struct{}, max(atOnce, 1)),
		pause: backoff{first: firstStartPause, limit: lastStartPause},
	}
}

// acquire waits for a slot and for the end of the back-off. It returns when
// the start began; release gives the slot back.
func (s *starts) acquire(ctx context.Context) (began time.Time, err error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
	for wait := s.wait(); wait > 0; wait = s.wait() { // it may have grown meanwhile
		if err := sleep(ctx, wait); err != nil {
			s.release()
			return time.Time{}, err
		}
	}
	if ctx.Err() != nil { // both were ready, and select took the slot
		s.release()
		return time.Time{}, context.Cause(ctx)
	}
	return time.Now(), nil
}

func (s *starts) release() { <-s.slots }

func (s *starts) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.resumeAt)
}

// failed notes that a start failed. One that was under way when the last one
// failed does not count, so that one outage does not double the pause for each.
func (s *starts) failed(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !began.After(s.failedAt) {
		return
	}
	s.failedAt = time.Now()
	s.resumeAt = s.failedAt.Add(s.pause.grow())
}

// succeeded ends the back-off.
func (s *starts) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause.reset()
	s.resumeAt = time.Time{}
}
