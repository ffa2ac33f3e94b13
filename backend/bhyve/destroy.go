package bhyve

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// goneLimit is how long a guest whose plug was pulled may take to leave its
// device and its lock, before they count as stuck.
const goneLimit = 5 * time.Second

// Destroy pulls a worker's plug, and removes the guest with all that a crash
// may have left of it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if !workerid.Valid(id) {
		return fmt.Errorf("%q is no worker's id", id)
	}
	if _, ours := workerid.Key(b.options.Pool, id); !ours {
		return nil // there is no such worker here, and vm-bhyve has guests of other pools
	}
	return b.remove(ctx, id)
}

func (b *Backend) remove(ctx context.Context, name string) error {
	dir, err := b.host.directory(ctx)
	if errors.Is(err, errNoDirectory) {
		return nil
	}
	if err != nil {
		return err
	}
	guest := filepath.Join(dir, name)
	if !exists(guest) && !b.host.alive(name) {
		return nil
	}
	if err := b.pullPlug(ctx, name, guest); err != nil {
		return err
	}
	if !exists(guest) {
		return nil
	}
	return b.host.whole(ctx, "vm", destroyArguments(name)...)
}

// pullPlug ends a guest, and then takes away by hand what stays: releases of
// vm-bhyve before 1.7.2 leave the device, crashes leave both.
func (b *Backend) pullPlug(ctx context.Context, name, guest string) error {
	lock := filepath.Join(guest, lockFile)
	var failed error
	if b.host.alive(name) {
		failed = b.host.whole(ctx, "vm", powerOffArguments(name)...)
	}
	gone := func() bool { return !b.host.alive(name) && !exists(lock) }
	for deadline := time.Now().Add(b.goneLimit); !gone() && time.Now().Before(deadline); {
		select {
		case <-time.After(devicePoll):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of guest %s: %w", name, context.Cause(ctx))
		}
	}
	if b.host.alive(name) {
		err := b.host.whole(ctx, "bhyvectl", "--vm="+name, "--destroy")
		if err != nil && b.host.alive(name) { // else it has gone meanwhile
			return errors.Join(failed, err)
		}
	}
	if exists(lock) {
		return b.host.whole(ctx, "rm", "-f", lock)
	}
	return nil
}
