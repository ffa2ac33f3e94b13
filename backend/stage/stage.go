// Package stage gives machines that are not workers, such as those of a prebuild,
// an id, a directory and a lease like a worker's, so that their orphans are found
// and removed like those of workers. What runs there is the backends' business.
package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// RemoveLimit bounds the removal of a machine on a stage.
const RemoveLimit = 2 * time.Minute

// Stage is where a pool's machines run that are not workers.
type Stage struct {
	// Pool is the pool's name, and WorkersDir holds its workers' directories.
	Pool, WorkersDir string
	Network          network.Network
	// Destroy is the backend's.
	Destroy func(ctx context.Context, id string) error
}

// Place is what one machine has there.
type Place struct {
	// ID is that of the machine, and Dir its directory.
	ID, Dir string
	Lease   network.Lease
}

// Run runs something in a place of its own, and removes what it left. The id
// follows from the purpose, so that what an earlier try left goes first.
func (s Stage) Run(ctx context.Context, purpose string, run func(Place) error) (err error) {
	id := workerid.Derived(s.Pool, purpose)
	dir := filepath.Join(s.WorkersDir, id)
	if err := s.remove(ctx, id, dir); err != nil {
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
	return run(Place{id, dir, lease})
}

func (s Stage) remove(ctx context.Context, id, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, RemoveLimit)
	defer cancel()
	return teardown.Steps{
		Machine:   []teardown.Step{s.Destroy},
		Lease:     []teardown.Step{s.Network.Release},
		Directory: func(string) error { return os.RemoveAll(dir) },
	}.Run(ctx, id)
}
