package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// diskCheck is how often is looked whether there is room on the disk again.
const diskCheck = time.Second

// Disk is what the host keeps free of its disk.
type Disk interface {
	// Closed says why nothing that fills the disk may begin now; nothing says that
	// it may. It is cheap.
	Closed() (reason string)
	// HasImage says whether a golden image is there, so that no build fills the disk.
	HasImage(digest string) bool
}

// unguarded is the disk of a pool that was given none.
type unguarded struct{}

func (unguarded) Closed() string       { return "" }
func (unguarded) HasImage(string) bool { return false }

// awaitDisk waits until something may begin that fills the disk. It tells waits why
// it waits, when that begins.
func (p *Pool) awaitDisk(ctx context.Context, waits func(reason string)) error {
	reason := p.disk.Closed()
	if reason == "" {
		return ctx.Err()
	}
	waits(reason)
	for reason != "" {
		if err := sleep(ctx, diskCheck); err != nil {
			return err
		}
		reason = p.disk.Closed()
	}
	return nil
}

// whenRoom does something for a worker as soon as the disk has room for it. Another
// failure is returned at once, and that there was no room when ctx ends.
func (p *Pool) whenRoom(ctx context.Context, id string, do func() error) error {
	err := do()
	if !diskspace.IsFull(err) {
		return err
	}
	p.log.Error("worker waits for room on the disk", "worker", id, "err", err)
	p.history.waits(id, err.Error())
	for diskspace.IsFull(err) {
		if sleep(ctx, diskCheck) != nil {
			return err
		}
		err = do()
	}
	return err
}

// saveWhenRoom saves the record of a worker of which everything else is done already.
func (p *Pool) saveWhenRoom(ctx context.Context, record store.Record) error {
	return p.whenRoom(ctx, record.ID, func() error { return p.store.Save(record) })
}
