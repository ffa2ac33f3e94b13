// Package backend is the contract for ways of running workers. Each way is a
// sub-package; vmm/ is the one for virtual machines on Linux, with qemu/ and
// cloudhypervisor/ for drivers. Others are what several of them need: process/
// starts and finds child processes, stage/ is where images are prebuilt, bootlog/
// keeps logs short, foreigntool/ is for machines that a tool of others keeps.
// backendtest/ is the suite that every backend passes.
package backend

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// How a worker was made.
const (
	Clone = "clone"
	Fork  = "fork"
)

// Backend is one way of running workers. All methods may be called
// concurrently, each for as many workers as the pool likes.
type Backend interface {
	// Check says what this host has and lacks for the backend. It changes
	// nothing but what is remembered of the answers.
	Check(ctx context.Context) []doctor.Finding
	// Build makes the golden image of a recipe, or returns the one that is
	// there already. A failed or cancelled build leaves nothing behind.
	Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error)
	// Start makes a worker and gives it its identity: when Start returns
	// without an error, the guest has taken its identity, and its SSH server
	// is about to answer. After an error the caller calls Destroy.
	Start(ctx context.Context, golden image.Golden, spec Spec) (Machine, error)
	// Find lists the machines of this pool that really exist on this host,
	// found without our memory.
	Find(ctx context.Context) ([]Machine, error)
	// Destroy ends a worker's machine and everything that the backend made
	// for it outside the worker's directory. It is idempotent: a machine that
	// does not exist, or half exists, is no error.
	Destroy(ctx context.Context, id string) error
}

// Spec is what a worker is to be.
type Spec struct {
	// ID is the worker's id.
	ID string
	// Dir is the worker's own directory; it exists, and everything of the
	// machine that is a file goes there. The pool removes it.
	Dir string
	Size
	// Lease is the worker's place on the network.
	Lease network.Lease
	// Identity is given to the guest before anyone may use it.
	Identity guest.Identity
	// GivesWay has other machines go before this one, where the backend can do that.
	GivesWay bool
}

// Machine is a worker's machine, running or ended.
type Machine interface {
	// ID is the id of the worker that it belongs to.
	ID() string
	// Address is where SSH answers.
	Address() netip.AddrPort
	// How says how it was made: Clone or Fork.
	How() string
	// Done is closed when the machine has ended, for whatever reason.
	Done() <-chan struct{}
	// Err is nil while the machine runs, and wraps guest.ErrGone with the reason
	// once it has ended. It is cheap: no call of it waits on the guest.
	Err() error
}

// Forker is a backend that can boot a machine once and start workers from its
// memory. When there is a template, Start makes forks of it by itself; when
// there is none, or it fails, Start makes clones.
type Forker interface {
	// Prepare makes the pool's template of a golden image, for machines of one
	// size, unless a valid one is there, and removes templates that are not
	// valid any more, which all are where the configuration wants no forks: then, and
	// where forks are impossible, it returns at once. Templates of the images beside
	// it, by their digests, stay, and are forked meanwhile. Until wanted is closed, which
	// says that somebody waits for the template, machines that run go before what it
	// takes of the host's processors. A failed or cancelled Prepare leaves nothing of it.
	Prepare(ctx context.Context, golden image.Golden, size Size, beside []string, wanted <-chan struct{},
		progress image.Progress) error
}

// Stocker is a backend that can do a part of a start ahead of time.
type Stocker interface {
	// Stockable says whether Stock has what it needs, such as a template. It is
	// cheap.
	Stockable(ctx context.Context, golden image.Golden, size Size) bool
	// Stock does all of a start that needs no identity; a Start with the same
	// id goes on from there. Spec has none yet. After an error the caller calls
	// Destroy; so it does with a worker that nobody has asked for.
	Stock(ctx context.Context, golden image.Golden, spec Spec) error
}

// ErrRunsOn says that there was no room to save a machine, that nothing of the
// attempt is left, and that the machine runs as before.
var ErrRunsOn = errors.New("the machine runs on")

// Suspender is a backend that can put a machine away in its worker's
// directory, memory included, and bring it back.
type Suspender interface {
	// Suspend saves a machine that runs, and ends it. When it returns without
	// an error, what it saved survives a crash of the host. After an error that
	// wraps ErrRunsOn the caller may call Suspend again when there is room, and
	// after any other it calls Destroy.
	Suspend(ctx context.Context, id string) error
	// Resume brings back what Suspend saved, on the lease of spec, whose
	// identity is ignored: the guest has one. Its clock and its entropy are
	// mended when Resume returns without an error; after an error the caller
	// calls Destroy. What was saved is used up either way.
	Resume(ctx context.Context, spec Spec) (Machine, error)
	// Resumable is nil when a worker's directory holds what Suspend saved and
	// Resume can use on this host, and else says why not.
	Resumable(dir string) error
}

// Saver is a backend that can make an image of what a worker has become.
type Saver interface {
	// Save ends a worker that Start has made of the golden image, as a clone, and makes
	// the golden image of the recipe of what it leaves, cleaned and sealed as that of a
	// build. When it fails it leaves nothing; the caller calls Destroy either way.
	Save(ctx context.Context, golden image.Golden, id string, recipe image.Recipe, progress image.Progress) (
		image.Golden, error)
}

// SavedForker is a Suspender whose saved machines can be forked, memory included.
type SavedForker interface {
	// ForkSaved starts a machine from what Suspend saved in the directory of another
	// worker, on the lease of spec, whose identity is ignored: the guest goes on as who it
	// was. Nothing of what was saved changes, so that it can be forked again, and resumed.
	// The fork depends on that directory no more once ForkSaved has returned. After an
	// error the caller calls Destroy.
	ForkSaved(ctx context.Context, dir string, spec Spec) (Machine, error)
}

// Size is the hardware of a machine.
type Size struct {
	// CPUs is the number of virtual processors; Memory is in bytes.
	CPUs   int
	Memory int64
}

// Costed is a backend whose machines take something else of the host than their
// size.
type Costed interface {
	// Cost is what a machine of a size takes of the host at most, the program that
	// runs it included.
	Cost(size Size) Size
}

// CostOf is what a machine of a size takes of the host at most.
func CostOf(b Backend, size Size) Size {
	if costed, ok := b.(Costed); ok {
		return costed.Cost(size)
	}
	return size
}

// Console is a backend that keeps the boot log of its machines.
type Console interface {
	// ConsolePath is the file that holds the boot log of the worker whose
	// directory is dir.
	ConsolePath(dir string) string
}

// Accelerated is a backend of virtual machines, which are fast or emulated.
type Accelerated interface {
	// Acceleration is "kvm" or "tcg" (emulation), once it is known, and why.
	Acceleration() (name, reason string)
}

// Metered is a backend that can tell what its machines take of the host's
// memory.
type Metered interface {
	// Memory is what each machine of this pool takes now, by its worker's id,
	// found without our memory, as Find finds them.
	Memory(ctx context.Context) (map[string]Memory, error)
}

// Memory is what a machine's processes take of the host's memory, in bytes, as
// proc_pid_smaps(5) counts it. What is swapped out is not in it.
type Memory struct {
	// PSS is the proportional set size: all pages that a process has mapped,
	// those that n processes map counted as one n-th. So the sum over all
	// processes is what they take together.
	PSS int64
	// Private is the part of it that no other process maps.
	Private int64
}

// Plus is the memory of both.
func (m Memory) Plus(other Memory) Memory {
	return Memory{PSS: m.PSS + other.PSS, Private: m.Private + other.Private}
}

// Witness is a backend that can tell which job is in a worker.
type Witness interface {
	// Job returns the job that is seen in a worker now; false says that none is. It is
	// the guest's word, and whoever asks limits how long it may take by ctx.
	Job(ctx context.Context, id string) (job guest.Job, seen bool, err error)
}

// Accountant is a backend that can tell what a machine has taken of the host in all its
// time.
type Accountant interface {
	// Usage is asked before Destroy and before Suspend. It only looks, and waits for
	// nothing.
	Usage(id string) (Usage, error)
}

// Usage is what a machine has taken of the host. What is not known is 0.
type Usage struct {
	// CPU is the time that it had of processors.
	CPU time.Duration
	// PeakMemory is the most memory that it had at once, and DiskWritten what it had
	// written, in bytes.
	PeakMemory, DiskWritten int64
}

// Foreign is a machine whose guest may be something else than Linux.
type Foreign interface {
	// OS is the guest's system, as Go names it: linux, darwin, freebsd.
	OS() string
}
