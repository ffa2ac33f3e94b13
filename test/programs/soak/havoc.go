//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// flush does what `nft flush ruleset` does, in our namespace.
func (r *round) flush(context.Context, *pool) (did bool, err error) {
	connection, err := nftables.New()
	if err != nil {
		return false, err
	}
	connection.FlushRuleset()
	return true, connection.Flush()
}

// fill leaves no block free in the file system of the state directory. The round
// goes on beside that, until it ends. Workers may end by it.
func (r *round) fill(context.Context, *pool) (did bool, err error) {
	if r.ballast != nil {
		return true, r.free()
	}
	file, err := os.OpenFile(filepath.Join(r.host.StateDir, "lost+found", "ballast"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	r.filled = true
	for _, p := range r.pools {
		p.promises.excuse()
	}
	r.ballast = func() error { return errors.Join(file.Close(), os.Remove(file.Name())) }
	size := int64(0)
	for step := int64(1 << 40); step >= 4096; {
		switch err := unix.Fallocate(int(file.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EFBIG):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			return false, fmt.Errorf("filling the disk: %w", err)
		}
	}
	return true, nil
}

// free undoes fill.
func (r *round) free() error {
	if r.ballast == nil {
		return nil
	}
	defer func() { r.ballast = nil }()
	return r.ballast()
}
