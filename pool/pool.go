// Package pool holds a worker's life: grow, ready, run, suspend, shrink, reap. It
// decides when a machine is made and when it is given up, and remembers which
// there are. How a machine runs is its backend's business, where it sits on
// the network the network's, what an image is the image's, and the words that
// GitLab Runner hears are the provider's. What is remembered on disk is in
// store/, the keys and the first login to a worker are in access/.
//
// Each worker has one goroutine for its whole life (life.go): it makes the
// machine, watches it, and tears it down, in this order, so that no two
// goroutines change one worker. All others only read what it shows, ask it to
// suspend or resume, or ask it to end by cancelling its context.
package pool

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// Config is what a pool is to be. All of it must be filled in; finding good
// defaults is the provider's business.
type Config struct {
	// Name begins the id of every worker.
	Name string
	// Recipe is what all workers are made from.
	Recipe image.Recipe
	// CPUs and Memory (bytes) are what each worker gets.
	CPUs   int
	Memory int64
	// Processors is how many the host has: with enough of them, one worker boots beside
	// the making of the template.
	Processors int
	// Max is how many workers there may be, those being deleted included.
	Max int
	// ConcurrentStarts is how many workers may be made at once; the others
	// wait. StartTimeout is how long one may take, waiting not counted, and how long
	// it may wait for room on the host.
	ConcurrentStarts int
	StartTimeout     time.Duration
	// WatchInterval is how often a worker that runs is asked whether it answers. Each
	// answer costs the guest a process.
	WatchInterval time.Duration
	// Spares is how many workers are kept almost ready, beside those that were
	// asked for, where the backend can do that.
	Spares int
	// Refresh says when the image is made anew, beside the workers that run. The
	// recipe's edition follows from it. Check are shell commands that a worker of a
	// renewed image must pass, as the user of jobs, before others are made from it.
	Refresh image.Refresh
	Check   []string
	// Keep is how long an image stays after its last use by any pool.
	Keep time.Duration
	// Hold says which workers stay for a post-mortem.
	Hold Hold
}

// Parts are what a pool is put together from.
type Parts struct {
	Backend backend.Backend
	Network network.Network
	Access  Access
	Store   *store.Store
	Log     *slog.Logger
	// Ledger is told what happens to workers; nil where nobody wants to know.
	Ledger Ledger
	// Budget is what the workers of all pools of the host share; without one,
	// nothing of this pool waits for room on the host.
	Budget Budget
	// Disk keeps some of the host's disk free; without one, nothing waits for that.
	Disk Disk
	// Images are those of the host; without them, none is found and none removed.
	Images Images
	// Orphans are machines of the pool that another backend than Backend has made:
	// how each is removed, by worker. The directories are the pool's.
	Orphans map[string]teardown.Steps
}

// Access makes the keys of a worker and finds out when it accepts them.
type Access interface {
	// New makes the identity of a new worker, and the key that belongs to it.
	New(id, user string) (guest.Identity, Key, error)
	// Ready returns when SSH answers at the address, with the host key of the
	// identity, and lets the key in; or with an error when ctx ends, or when
	// something answers that cannot be the worker.
	Ready(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key Key) error
}

// Key is the private key that jobs log in with, in PEM form without a
// passphrase.
type Key string

// Pool is the workers of one [[runners]] entry. All methods may be called
// concurrently; none but Open and Close waits for anything but a mutex.
type Pool struct {
	config  Config
	backend backend.Backend
	network network.Network
	access  Access
	store   *store.Store
	log     *slog.Logger
	history history
	budget  Budget
	disk    Disk
	images  Images

	// othersOrphans are those that the backend does not know.
	othersOrphans map[string]teardown.Steps

	golden *golden
	// unused says that an image is held no more.
	unused chan struct{}
	// making is that of the template; nil where there are none. templateTook is how long
	// the last one took, and belongs to the goroutine that makes them.
	making       atomic.Pointer[making]
	templateTook time.Duration
	// ahead says that a worker has booted beside the making of the template.
	ahead  atomic.Bool
	forks  pastForks
	starts *starts
	// demand says that spares may be wanted.
	demand chan struct{}

	// growing is the context of all that makes and watches workers; Close ends
	// it first. reaping is the context of all teardown, which only a Close ends
	// that has run out of time.
	growing context.Context
	stop    context.CancelCauseFunc
	reaping context.Context
	giveUp  context.CancelFunc
	running sync.WaitGroup // every goroutine of the pool, and every Grow

	mu      sync.Mutex // guards all below; nothing waits while it is held
	workers map[string]*worker
	spares  []spare // the oldest first
	// held are the workers that are held, which are none of workers any more once that
	// was shown, and forksOfHeld is how each fork of one is ended.
	held        map[string]*hold
	forksOfHeld map[string]context.CancelCauseFunc
	// forgotten are workers that are gone and were shown as such, the oldest first,
	// for those who still ask.
	forgotten []forgotten
	closing   bool
}

// New puts a pool together. It does nothing until Open.
func New(config Config, parts Parts) *Pool {
	growing, stop := context.WithCancelCause(context.Background())
	reaping, giveUp := context.WithCancel(context.Background())
	p := &Pool{
		config:  config,
		backend: parts.Backend,
		network: parts.Network,
		access:  parts.Access,
		store:   parts.Store,
		log:     parts.Log,
		history: history{to: parts.Ledger, log: parts.Log},
		budget:  parts.Budget,
		disk:    parts.Disk,
		images:  parts.Images,

		othersOrphans: parts.Orphans,

		demand:  make(chan struct{}, 1),
		unused:  make(chan struct{}, 1),
		growing: growing,
		stop:    stop,
		reaping: reaping,
		giveUp:  giveUp,
		workers: make(map[string]*worker),

		held:        make(map[string]*hold),
		forksOfHeld: make(map[string]context.CancelCauseFunc),
	}
	if p.budget == nil {
		p.budget = unlimited{}
	}
	if p.disk == nil {
		p.disk = unguarded{}
	}
	if p.images == nil {
		p.images = noImages{}
	}
	p.starts = newStarts(config.ConcurrentStarts, newBreaker(p.spare, p.spareNoMore))
	p.forks.learning = make(chan struct{}, 1)
	p.golden = newGolden(p.build, p.lookForUnused)
	return p
}
