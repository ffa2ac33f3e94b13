package pool

import (
	"errors"
	"time"
)

// State is where a worker is in its life.
type State string

// The states of a worker. Deleted covers gone and failed: either way nothing
// is left of it.
const (
	Creating   State = "creating"
	Running    State = "running"
	Suspending State = "suspending"
	Suspended  State = "suspended"
	Resuming   State = "resuming"
	Deleting   State = "deleting"
	Deleted    State = "deleted"
	// Spare is a worker that nobody has asked for yet; the runner never sees it.
	Spare State = "spare"
	// Canary is the first worker of a renewed image; the runner never sees it either.
	Canary State = "canary"
	// Held is a worker that the runner gave back and that is kept for a post-mortem, and
	// Debug a fork of one. The runner sees neither.
	Held  State = "held"
	Debug State = "debug"
)

// What may be wrong with a request.
var (
	ErrUnknown    = errors.New("no such worker")
	ErrNotRunning = errors.New("worker is not running")
	ErrFull       = errors.New("pool is full")
	ErrClosing    = errors.New("pool is closing")
)

// errShrunk is why a worker ends that Shrink was asked to end, and errRemoved why one does
// that End was asked to.
var (
	errShrunk  = errors.New("deleted on request")
	errRemoved = errors.New("removed by the operator")
)

// The phases of a creation, as logs and records name them.
const (
	PhaseWaitDisk     = "wait_disk"     // for room on the disk for its directory
	PhaseWaitImage    = "wait_image"    // for the golden image
	PhaseWaitTemplate = "wait_template" // for the template that is being made
	PhaseWaitBudget   = "wait_budget"   // for room on the host
	PhaseWaitStart    = "wait_start"    // for a start slot, the back-off, and while the image is spared
	PhaseLease        = "lease"         // for its lease, keys and record
	PhaseStart        = "start"         // for the backend
	PhaseReady        = "ready"         // for SSH
)

var phases = []string{
	PhaseWaitDisk, PhaseWaitImage, PhaseWaitTemplate, PhaseWaitBudget, PhaseWaitStart,
	PhaseLease, PhaseStart, PhaseReady,
}

// Worker says how one worker is doing.
type Worker struct {
	ID    string
	State State
	// Reason says why a worker is being deleted, or has been.
	Reason    string
	CreatedAt time.Time
}
