// Package observe is what those see who only look at the workers of a host: what is
// known of all pools of a state directory at one moment, read from the pools' ledgers and
// records and from what the host says (watch.go), and what is wrong with it (problems.go).
// Nothing here changes anything.
//
// How it is shown is in the folders below: as metrics, as a page, by the endpoint that
// serves both, and as traces. What is written into a ledger is the pool's business.
package observe

import (
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// View is what is known at one moment. It does not change any more.
type View struct {
	At time.Time
	// Host is this host's name.
	Host     string
	Pools    []Pool // in the order of their names
	Share    Share
	Disk     Disk
	Problems []Problem // the gravest first
}

// Pool is what is known of one pool.
type Pool struct {
	Name string
	// Backend and MaxWorkers are those of the process that opened it last.
	Backend    string
	MaxWorkers int
	// Workers are those of which anything is left, and Gone the last ones of which
	// nothing is; the oldest first.
	Workers, Gone []Worker
	// Image is the one that the pool's workers are made from.
	Image Image
	// Spared says why the pool starts one worker at a time; nil if it does not.
	Spared *store.Breaker
	// Ended are the last workers that ended unasked, the last one last.
	Ended []store.Ended
	// Unknown says what could not be found out of the pool.
	Unknown []string
}

// Worker is what is known of one worker.
type Worker struct {
	ledger.Worker
	Pool  string
	State pool.State
	// Denied is how many packets it was denied; nil where nothing counts them.
	Denied *uint64
	// MissingRules says which rules around it are gone.
	MissingRules string
}

// Image is a golden image. What is not known is zero.
type Image struct {
	Digest  string
	Edition string
	BuiltAt time.Time
	Bytes   int64
	// ServedSince is when a pool that renews its image began to serve this one, and
	// Failed why it serves no newer one.
	ServedSince time.Time
	Failed      *store.FailedRenewal
}

// Share is what workers of all pools share of the host, in bytes and processors.
type Share struct {
	Memory, HeldMemory int64
	// CPUs is 0 where there is no limit.
	CPUs, HeldCPUs int
	HeldDisk       int64
	// Closed says why no worker starts now, whatever fits.
	Closed string
}

// Disk is the file system of the state directory, in bytes.
type Disk struct{ Total, Free int64 }

// Alive are the workers of all pools of which anything is left.
func (v View) Alive() (workers []Worker) {
	for _, p := range v.Pools {
		workers = append(workers, p.Workers...)
	}
	return workers
}

// find is a worker by its id, one that is gone too.
func (v View) find(id string) (Worker, bool) {
	for _, p := range v.Pools {
		for _, w := range slices.Concat(p.Workers, p.Gone) {
			if w.ID == id {
				return w, true
			}
		}
	}
	return Worker{}, false
}

// poolOf is the pool that a worker's id begins with, if there is one.
func (v View) poolOf(id string) (name string, ok bool) {
	for _, p := range v.Pools {
		if _, ok := workerid.Key(p.Name, id); ok {
			return p.Name, true
		}
	}
	return "", false
}

// startsKept is how many starts of a pool are told of.
const startsKept = 100

// Starts are the workers of a pool that were ready last, the last one last. Canaries are
// none of them.
func (p Pool) Starts() (workers []Worker) {
	for _, w := range slices.Concat(p.Gone, p.Workers) {
		if !w.ReadyAt.IsZero() && w.Origin != ledger.Canary {
			workers = append(workers, w)
		}
	}
	slices.SortStableFunc(workers, func(a, b Worker) int { return a.ReadyAt.Compare(b.ReadyAt) })
	return workers[max(0, len(workers)-startsKept):]
}

// Hidden says that the runner knows nothing of the worker: a canary, or one that is made
// ahead of time.
func (w Worker) Hidden() bool {
	return w.Origin == ledger.Canary || w.Origin == ledger.Stocked && w.PromisedAt.IsZero()
}

// Start are the phases of a worker from the moment that it was asked for until it was
// ready, or up to now. What was made ahead of that is none of them.
func (w Worker) Start() []ledger.Span {
	begin := slices.IndexFunc(w.Spans, func(s ledger.Span) bool { return !s.Begin.Before(w.PromisedAt) })
	if begin < 0 {
		return nil
	}
	start := w.Spans[begin:]
	end := slices.IndexFunc(start, func(s ledger.Span) bool {
		return !w.ReadyAt.IsZero() && !s.Begin.Before(w.ReadyAt)
	})
	if end < 0 {
		return start
	}
	return start[:end]
}

// byPhase are the states that a worker has in some phases of its ledger.
var byPhase = map[string]pool.State{
	"suspend": pool.Suspending, "suspended": pool.Suspended, "resume": pool.Resuming,
}

// stateOf is a worker's state, by what its ledger tells.
func stateOf(w ledger.Worker) pool.State {
	phase, _ := w.Phase()
	switch {
	case !w.GoneAt.IsZero():
		return pool.Deleted
	case !w.EndedAt.IsZero():
		return pool.Deleting
	case byPhase[phase.Name] != "":
		return byPhase[phase.Name]
	case w.Origin == ledger.Canary:
		return pool.Canary
	case w.Origin == ledger.Stocked && w.PromisedAt.IsZero():
		return pool.Spare
	case !w.ReadyAt.IsZero():
		return pool.Running
	}
	return pool.Creating
}
