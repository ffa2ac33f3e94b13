package booting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// RemoveLimit bounds the removal of a machine that is no worker, or no longer.
const RemoveLimit = 30 * time.Second

// Stage gives machines that are no workers an id, a lease and a directory like
// a worker's, so that what a killed process leaves of them is found and removed
// like what a worker left.
type Stage struct {
	// Pool is the pool's name, and WorkersDir holds its workers' directories.
	Pool, WorkersDir string
	Network          network.Network
	// Destroy is the backend's.
	Destroy func(ctx context.Context, id string) error
}

// Run runs something there, and removes what it left.
func (s Stage) Run(ctx context.Context, id string, run func(dir string, lease network.Lease) error) (err error) {
	dir := filepath.Join(s.WorkersDir, id)
	if err := s.remove(ctx, id, dir); err != nil { // of an earlier try
		return err
	}
	defer func() { err = errors.Join(err, s.remove(context.WithoutCancel(ctx), id, dir)) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of %s: %w", id, err)
	}
	lease, err := s.Network.Acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("network of %s: %w", id, err)
	}
	return run(dir, lease)
}

func (s Stage) remove(ctx context.Context, id, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, RemoveLimit)
	defer cancel()
	return errors.Join(s.Destroy(ctx, id), s.Network.Release(ctx, id), os.RemoveAll(dir))
}
