package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// sweepWait is how long a sweep waits for a pool's lock: a plugin process that
// serves the pool holds it for as long as it lives.
const sweepWait = 50 * time.Millisecond

// Swept is what a sweep found of one pool.
type Swept struct {
	Pool string `json:"pool"`
	// Held says that a plugin process serves the pool, where nothing was done.
	Held bool `json:"held"`
	// LeftOver are the orphans.
	LeftOver []string `json:"left_over"`
	// Suspended are the workers that wait for the pool's next plugin process, held ones
	// among them.
	Suspended []string `json:"suspended"`
	// Removed says that none of it is left now.
	Removed bool `json:"removed"`
}

// Sweeping says what a sweep does besides looking.
type Sweeping struct {
	// Remove removes orphans, Suspended the suspended workers as well,
	// which their pool's next plugin process would take over.
	Remove, Suspended bool
}

// Sweep looks for orphans of every pool below the state directory that no plugin
// process serves. It holds a pool's lock while it works on it, so that no plugin
// process starts meanwhile. One pool that cannot be swept does not keep it from
// the others. What killed builds have left of images is swept with the pool of builds from the
// command line, whoever began them.
func (h *Host) Sweep(ctx context.Context, c config.Config, do Sweeping, log *slog.Logger) ([]Swept, error) {
	names, err := h.PoolNames(c)
	if err != nil {
		return nil, err
	}
	unfinished, err := h.Images(c.ImagesDir()).Orphans(false)
	if err != nil {
		return nil, err
	}
	if len(unfinished) > 0 && !slices.Contains(names, config.PoolImages) {
		names = append(names, config.PoolImages)
	}
	swept := make([]Swept, 0, len(names))
	var errs []error
	for _, name := range names {
		c.Pool = name
		one, err := h.sweepPool(ctx, c, do, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweeping pool %q: %w", name, err))
		}
		swept = append(swept, one)
	}
	return swept, errors.Join(errs...)
}

func (h *Host) sweepPool(
	ctx context.Context, c config.Config, do Sweeping, log *slog.Logger,
) (result Swept, err error) {
	result = Swept{Pool: c.Pool, LeftOver: []string{}, Suspended: []string{}}
	open := store.Open
	if !do.Remove {
		open = store.Look
	}
	records, unlock, err := take(ctx, c, open, sweepWait)
	if errors.Is(err, store.ErrHeld) {
		result.Held = true
		return result, nil
	}
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := h.everyone(c, log)
	if err != nil {
		return result, err
	}
	found, err := findOrphans(ctx, c, all)
	if do.Suspended {
		found.directories, found.suspended = append(found.directories, found.suspended...), nil
	}
	result.LeftOver, result.Suspended = found.list(), append(result.Suspended, found.suspended...)
	if err == nil && do.Remove {
		err = found.remove(ctx, c, records, all)
	}
	if c.Pool == config.PoolImages {
		names, imageErr := h.Images(c.ImagesDir()).Orphans(do.Remove) // after the machines that build them
		for _, name := range names {
			result.LeftOver = append(result.LeftOver, "unfinished image "+name)
		}
		err = errors.Join(err, imageErr)
	}
	result.Removed = err == nil && do.Remove
	return result, err
}

// PoolNames lists the pools below a state directory, in order: those that have
// a directory, and those that lost theirs but still have addresses, or hold
// anything of the host. What a pool cannot be called is passed over: it would lead
// out of the directory of pools.
func (h *Host) PoolNames(c config.Config) ([]string, error) {
	names := make(map[string]struct{})
	entries, err := os.ReadDir(filepath.Dir(c.PoolDir()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing pools: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() && config.IsPool(entry.Name()) {
			names[entry.Name()] = struct{}{}
		}
	}
	share, err := budgetOf(c)
	if err != nil {
		return nil, err
	}
	pools, err := share.Pools()
	if err != nil {
		return nil, err
	}
	for _, pool := range pools {
		if config.IsPool(pool) {
			names[pool] = struct{}{}
		}
	}
	owners, err := h.AddressOwners(c)
	if err != nil {
		return nil, err
	}
	for _, owner := range owners {
		if pool, _, ok := strings.Cut(owner, "/"); ok && config.IsPool(pool) {
			names[pool] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// checkOrphans tells of what killed processes have left of pools that nobody serves.
func (h *Host) checkOrphans(ctx context.Context, c config.Config, log *slog.Logger) (findings []doctor.Finding) {
	swept, err := h.Sweep(ctx, c, Sweeping{}, log)
	if err != nil {
		return nil // what cannot be read, checkStateDir reports
	}
	for _, pool := range swept {
		if len(pool.LeftOver) > 0 {
			findings = append(findings, doctor.Finding{
				Level: doctor.Warning, What: "orphans of pool " + pool.Pool, Detail: strings.Join(pool.LeftOver, ", "),
				Mend:    "remove them, or start the runner, whose plugin does",
				Command: config.PluginName + " gc --state-dir " + guest.Quote(c.StateDir), Safe: true,
			})
		}
	}
	return findings
}
