package bhyve

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// goneLimit is how long a guest whose plug was pulled may take to leave its
// device and its lock, before they count as stuck.
const goneLimit = 5 * time.Second

// Remove pulls a guest's plug, and deletes it with all that a crash may have
// left of it.
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
	if err := h.pullPlug(ctx, name, guest); err != nil {
		return err
	}
	if !exists(guest) {
		return nil
	}
	return h.whole(ctx, "vm", destroyArguments(name)...)
}

// pullPlug ends a guest, and then takes away by hand what stays: releases of
// vm-bhyve before 1.7.2 leave the device, crashes leave both.
func (h *host) pullPlug(ctx context.Context, name, guest string) error {
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
