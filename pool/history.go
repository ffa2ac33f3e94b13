package pool

import (
	"log/slog"
	"sync/atomic"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Ledger is where the pool writes down what happens to its workers.
type Ledger interface {
	Write(ledger.Event) error
}

// Phases of a worker that is ready, or was, or is to be ready for others, beside those that
// the ledger knows. Those of a creation are in state.go.
const (
	phaseSuspend  = "suspend"  // its memory is saved
	phaseResume   = "resume"   // it is brought back
	phaseStock    = "stock"    // it is made ahead of time
	phaseTeardown = "teardown" // it is removed
)

// What the ledger is told of that is of no worker. The phases that wait for them are named
// after them: wait_image.
const (
	aboutImage    = "image"
	aboutTemplate = "template"
	aboutStarts   = "start"
	aboutRenewal  = "renewal"
)

// history tells the ledger. Nothing depends on it: what cannot be written is counted there,
// and the log says so once. It is not to be called while the pool's mutex is held, nor by
// what the runner calls, since it writes to the disk.
type history struct {
	to      Ledger // nil where nobody wants to know
	log     *slog.Logger
	failing atomic.Bool
}

func (h *history) tell(e ledger.Event) {
	if h.to == nil {
		return
	}
	err := h.to.Write(e)
	if failed := err != nil; h.failing.Swap(failed) == failed {
		return
	}
	if err != nil {
		h.log.Warn("what happens to workers is not written down", "err", err)
	} else {
		h.log.Info("what happens to workers is written down again")
	}
}

// begins tells where a worker comes from.
func (h *history) begins(worker string, from ledger.Kind, at time.Time) {
	h.tell(ledger.Event{At: at, Worker: worker, Kind: from})
}

// enters tells that a worker goes from one phase to the next.
func (h *history) enters(worker, phase string) {
	h.tell(ledger.Event{Worker: worker, Kind: ledger.Entered, Phase: phase})
}

func (h *history) waits(worker, reason string) {
	h.tell(ledger.Event{Worker: worker, Kind: ledger.Waits, Reason: reason})
}

// ready tells that jobs may come to a worker, again or for the first time.
func (h *history) ready(record store.Record) {
	h.tell(ledger.Event{
		Worker: record.ID, Kind: ledger.Ready, Phase: ledger.Run, How: record.How, Image: record.ImageDigest,
	})
}

// notes tells something of the pool itself: of what, and what of it.
func (h *history) notes(of, what string) {
	h.tell(ledger.Event{Kind: ledger.Noted, Phase: of, Reason: what})
}

// ends tells why a worker ends, and that its teardown begins.
func (h *history) ends(worker string, reason error, asked bool) {
	kind := ledger.Failed
	if asked {
		kind = ledger.Ended
	}
	h.tell(ledger.Event{Worker: worker, Kind: kind, Phase: phaseTeardown, Reason: brief{reason}.Error()})
}

func (h *history) gone(worker string) { h.tell(ledger.Event{Worker: worker, Kind: ledger.Gone}) }
