package pool

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// What is remembered of past forks, and what is made of it: the memory that so many
// of them did not exceed, once there were enough.
const (
	rememberedForks = 100
	enoughForks     = 5
	expectedShare   = 0.95
)

// How often the pool looks what its workers take, and in which part of the time it
// may do that at most: looking at one machine takes milliseconds.
const (
	meterPause = 5 * time.Second
	meterShare = 50
)

// pastForks is what forks of the pool took of the host for themselves.
type pastForks struct {
	// learning has room for one, who adds a fork and has that be on the disk.
	learning chan struct{}

	mu sync.Mutex // guards what follows
	store.Forks
}

// expected is what a fork will hardly exceed, in bytes; false says that too little
// is known of forks of this series of images and this size.
func (f *pastForks) expected(series string, size backend.Size) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.about(series, size) || len(f.Peaks) < enoughForks {
		return 0, false
	}
	return quantile(f.Peaks, expectedShare), true
}

func (f *pastForks) about(series string, size backend.Size) bool {
	return f.ImageDigest == series && f.CPUs == size.CPUs && f.Memory == size.Memory
}

// add notes one more fork, and returns all that is to be remembered.
func (f *pastForks) add(series string, size backend.Size, peak int64) store.Forks {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.about(series, size) {
		f.Forks = store.Forks{ImageDigest: series, CPUs: size.CPUs, Memory: size.Memory}
	}
	f.Peaks = append(f.Peaks, peak)
	f.Peaks = slices.Clone(f.Peaks[max(0, len(f.Peaks)-rememberedForks):])
	return f.Forks
}

// quantile is the least value that the share of all values does not exceed.
func quantile(values []int64, share float64) int64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(share*float64(len(sorted))))-1]
}

// rememberForks reads what earlier processes learnt.
func (p *Pool) rememberForks() {
	forks, err := p.store.LoadForks()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.log.Warn("forks are taken for as large as they may become", "err", err)
		}
		return
	}
	p.forks.mu.Lock()
	defer p.forks.mu.Unlock()
	p.forks.Forks = forks
}

// keepMeter looks from time to time what workers really take, if the backend can
// tell: no worker holds less than that, and the next forks are expected to be like
// the last ones.
func (p *Pool) keepMeter() {
	metered, ok := p.backend.(backend.Metered)
	if !ok {
		return
	}
	failed := false
	for pause := meterPause; sleep(p.growing, pause) == nil; {
		began := time.Now()
		err := p.measure(p.growing, metered)
		if err != nil && !failed && p.growing.Err() == nil { // once, until it works again
			p.log.Warn("what workers take of the host is not known", "err", err)
		}
		failed = err != nil
		pause = max(meterPause, meterShare*time.Since(began))
	}
}

func (p *Pool) measure(ctx context.Context, metered backend.Metered) error {
	used, err := metered.Memory(ctx)
	if err != nil {
		return err
	}
	private := make(map[string]int64, len(used))
	p.mu.Lock()
	for id, memory := range used {
		private[id] = memory.Private
		if w := p.workers[id]; w != nil {
			w.peak = max(w.peak, memory.Private)
		}
	}
	p.mu.Unlock()
	return p.budget.Raise(ctx, private)
}

// learn remembers what a fork took that is about to end. One that was too short for
// a look is looked at now, while it may still run: one look for all that end at once,
// since it is a look at all machines.
func (p *Pool) learn(w *worker) {
	metered, ok := p.backend.(backend.Metered)
	if !ok || w.record.How != backend.Fork {
		return
	}
	ctx, cancel := context.WithTimeout(p.reaping, teardownTimeout) // in all: its teardown waits
	defer cancel()
	select {
	case p.forks.learning <- struct{}{}:
		defer func() { <-p.forks.learning }()
	case <-ctx.Done():
		return
	}
	if p.peak(w) == 0 {
		if err := p.measure(ctx, metered); err != nil {
			p.log.Debug("a fork ended before anybody looked what it takes", "worker", w.id, "err", err)
		}
	}
	peak := p.peak(w)
	if peak == 0 {
		return
	}
	if err := p.store.SaveForks(p.forks.add(p.series(w.record.ImageDigest), p.size(), peak)); err != nil {
		p.log.Warn("what forks take is forgotten with this process", "err", err)
	}
}

// series is that of an image of this process's, whose editions have forks that are alike.
// A worker that was taken over may be of another image, which stands for itself.
func (p *Pool) series(digest string) string {
	if slices.Contains(p.golden.inUse(), digest) {
		return p.config.Recipe.Series()
	}
	return digest
}

func (p *Pool) peak(w *worker) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.peak
}
