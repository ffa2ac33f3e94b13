package pool

import (
	"context"
	"maps"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

// stopwatch measures the phases of a worker's way to readiness, one after the other, and
// tells the ledger when each begins.
type stopwatch struct {
	worker  string
	history *history

	// mu guards what follows: parts may end in goroutines of their own.
	mu    sync.Mutex
	phase string // the present one; nothing before the first, and after the last
	since time.Time
	// part is when the present part began, told when a reason was told last.
	part, told time.Time
	laps       map[string]float64
}

func (p *Pool) newStopwatch(worker string) *stopwatch {
	return &stopwatch{worker: worker, history: &p.history, laps: make(map[string]float64)}
}

// enter ends the present phase, and begins another. One may be gone through again.
func (s *stopwatch) enter(phase string) {
	if s.turn(phase) {
		s.history.tell(ledger.Event{Worker: s.worker, Kind: ledger.Entered, Phase: phase})
	}
}

// stop ends the last phase.
func (s *stopwatch) stop() { s.turn("") }

// turn says whether the phase is another one than before.
func (s *stopwatch) turn(phase string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if phase == s.phase {
		return false
	}
	now := time.Now()
	if s.phase != "" {
		s.laps[s.phase] += now.Sub(s.since).Seconds()
	}
	s.phase, s.since, s.part, s.told = phase, now, now, time.Time{}
	return true
}

// fields are the phases in order, and rounded, for the log.
func (s *stopwatch) fields() (fields []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, phase := range phases {
		took := time.Duration(s.laps[phase] * float64(time.Second))
		fields = append(fields, phase, took.Round(10*time.Millisecond))
	}
	return fields
}

// parts returns a context that has what is done with it in this phase noted part by
// part, as "start.disk". They are in the record and in the ledger, not in the log.
func (s *stopwatch) parts(ctx context.Context) context.Context { return phase.With(ctx, s) }

// Ended notes a part.
func (s *stopwatch) Ended(part string) {
	s.mu.Lock()
	if s.phase == "" {
		s.mu.Unlock()
		return
	}
	part = s.phase + "." + part
	now := time.Now()
	s.laps[part] += now.Sub(s.part).Seconds()
	s.part = now
	s.mu.Unlock()
	s.history.tell(ledger.Event{Worker: s.worker, Kind: ledger.Passed, Phase: part})
}

// A phase that has just begun has nothing to explain yet, and one that fails again and
// again tells of it only so often.
const (
	quietPhase  = 2 * time.Second
	reasonPause = 5 * time.Second
)

// Hindered notes why a phase takes its time.
func (s *stopwatch) Hindered(reason string) {
	s.mu.Lock()
	now := time.Now()
	early := s.phase == "" || now.Sub(s.since) < quietPhase || now.Sub(s.told) < reasonPause
	if !early {
		s.told = now
	}
	s.mu.Unlock()
	if !early {
		s.history.waits(s.worker, reason)
	}
}

// phases are all that were noted up to now.
func (s *stopwatch) phases() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.laps)
}
