//go:build linux

package main

import (
	"context"

	"github.com/google/nftables"
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
	if r.full {
		return true, r.free()
	}
	r.full, r.filled = true, true
	for _, p := range r.pools {
		p.promises.excuse()
	}
	return true, r.disk.Fill(0)
}

// free undoes fill.
func (r *round) free() error {
	if !r.full {
		return nil
	}
	r.full = false
	return r.disk.Empty()
}
