package bhyve

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// goneLimit is how long device and lock of a guest may stay after its power-off,
// before they are removed by hand.
const goneLimit = 5 * time.Second

// Remove powers a guest off, and deletes it with all that a crash may have left
// of it.
func (h *host) Remove(ctx context.Context, name string) error {
	dir, err := h.directory(ctx)
	if errors.Is(err, errNoDirectory) {
		return nil
	}
	if err != nil {
		return err
	}
	guest := filepath.Join(dir, name)
	if !exists(guest) && !h.alive(name) {
		return nil
	}
	if err := h.powerOff(ctx, name, guest); err != nil {
		return err
	}
	if !exists(guest) {
		return nil
	}
	return h.whole(ctx, "vm", destroyArguments(name)...)
}

// powerOff ends a guest, and then removes by hand what stays: releases of
// vm-bhyve before 1.7.2 leave the device, crashes leave device and lock.
func (h *host) powerOff(ctx context.Context, name, guest string) error {
	lock := filepath.Join(guest, lockFile)
	var failed error
	if h.alive(name) {
		failed = h.whole(ctx, "vm", powerOffArguments(name)...)
	}
	gone := func() bool { return !h.alive(name) && !exists(lock) }
	for deadline := time.Now().Add(h.goneLimit); !gone() && time.Now().Before(deadline); {
		select {
		case <-time.After(devicePoll):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of guest %s: %w", name, context.Cause(ctx))
		}
	}
	if h.alive(name) {
		err := h.whole(ctx, "bhyvectl", "--vm="+name, "--destroy")
		if err != nil && h.alive(name) { // else it has gone meanwhile
			return errors.Join(failed, err)
		}
	}
	if exists(lock) {
		return h.whole(ctx, "rm", "-f", lock)
	}
	return nil
}
