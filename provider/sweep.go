package provider

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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// peek is how long a sweep waits for a pool's lock: one try.
const peek = 50 * time.Millisecond

// Swept is what a sweep found of one pool.
type Swept struct {
	Pool string `json:"pool"`
	// Held says that a plugin process serves the pool, which was left alone.
	Held bool `json:"held"`
	// LeftOver is what nobody owned.
	LeftOver []string `json:"left_over"`
	// Suspended are the workers that wait for the pool's next plugin process.
	Suspended []string `json:"suspended"`
	// Removed says that none of it is left now.
	Removed bool `json:"removed"`
}

// Sweeping says what a sweep does besides looking.
type Sweeping struct {
	// Remove removes what nobody owns, Suspended the suspended workers as well,
	// which their pool's next plugin process would take over.
	Remove, Suspended bool
}

// Sweep looks at every pool below the state directory that no plugin process
// serves, and does what it is to do there. It holds a pool's
// lock while it works on it, so that no plugin process starts meanwhile. One
// pool that cannot be swept does not keep it from the others.
func Sweep(ctx context.Context, c config.Config, do Sweeping, log *slog.Logger) ([]Swept, error) {
	names, err := PoolNames(c)
	if err != nil {
		return nil, err
	}
	swept := make([]Swept, 0, len(names))
	var errs []error
	for _, name := range names {
		c.Pool = name
		one, err := sweepPool(ctx, c, do, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweeping pool %q: %w", name, err))
		}
		swept = append(swept, one)
	}
	return swept, errors.Join(errs...)
}

func sweepPool(ctx context.Context, c config.Config, do Sweeping, log *slog.Logger) (result Swept, err error) {
	result = Swept{Pool: c.Pool, LeftOver: []string{}, Suspended: []string{}}
	open := store.Open
	if !do.Remove {
		open = store.Look
	}
	records, unlock, err := takeFrom(ctx, c, open, peek)
	if errors.Is(err, store.ErrHeld) {
		result.Held = true
		return result, nil
	}
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	candidates, err := everyone(c, log)
	if err != nil {
		return result, err
	}
	found, err := findRemains(ctx, c, candidates)
	if do.Suspended {
		found.giveUpSuspended()
	}
	result.LeftOver, result.Suspended = found.list(), append(result.Suspended, found.suspended...)
	if err == nil && do.Remove {
		err = found.remove(ctx, records, candidates)
	}
	if c.Pool == config.PoolImages {
		builds, buildErr := unfinishedBuilds(c, do.Remove) // after their machines
		result.LeftOver, err = append(result.LeftOver, builds...), errors.Join(err, buildErr)
	}
	result.Removed = err == nil && do.Remove
	return result, err
}

// take opens a pool's directory and takes its lock, waiting for so long.
func take(ctx context.Context, c config.Config, wait time.Duration) (records *store.Store, unlock func() error, err error) {
	return takeFrom(ctx, c, store.Open, wait)
}

func takeFrom(ctx context.Context, c config.Config, open func(string) (*store.Store, error), wait time.Duration) (records *store.Store, unlock func() error, err error) {
	records, err = open(c.PoolDir())
	if err != nil {
		return nil, nil, err
	}
	late := fmt.Errorf("waited for it for %s", wait)
	ctx, cancel := context.WithTimeoutCause(ctx, wait, late)
	defer cancel()
	unlock, err = records.Lock(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("pool %q: %w", c.Pool, err)
	}
	return records, unlock, nil
}

// PoolNames lists the pools below a state directory, in order: those that have
// a directory, and those that lost theirs but still have addresses.
func PoolNames(c config.Config) ([]string, error) {
	names := make(map[string]struct{})
	entries, err := os.ReadDir(filepath.Dir(c.PoolDir()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing pools: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			names[entry.Name()] = struct{}{}
		}
	}
	owners, err := addressOwners(c)
	if err != nil {
		return nil, err
	}
	for _, owner := range owners {
		if pool, _, ok := strings.Cut(owner, "/"); ok && pool != "" {
			names[pool] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
