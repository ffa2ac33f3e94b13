//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

var _ backend.Saver = (*Backend)(nil)

// Save ends the container in order, makes one tree of the golden one and of what the
// worker has written, and takes that to its end as a build does. The files of the
// worker's identity, which lie between the two, stay behind.
func (b *Backend) Save(
	ctx context.Context, golden image.Golden, id string, recipe image.Recipe, progress image.Progress,
) (image.Golden, error) {
	b.mu.Lock()
	m := b.machines[id]
	b.mu.Unlock()
	if m == nil {
		return image.Golden{}, fmt.Errorf("saving %s: this process has started no such worker", id)
	}
	return b.images().Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		if err := m.powerOff(ctx); err != nil {
			return "", err
		}
		w := &prebuild.Work{Golden: image.Golden{Dir: work, Manifest: image.Manifest{Recipe: recipe}}, Prepared: true}
		w.Begin(time.Now())
		dir := filepath.Dir(b.directory(id))
		if err := awaitDetached(ctx, filepath.Join(dir, diskFile)); err != nil {
			return "", err
		}
		progress("tree", "")
		if err := merge(ctx, golden, dir, w.Tree()); err != nil {
			return "", fmt.Errorf("copying the tree of %s: %w", id, err)
		}
		unkept := func(context.Context, *guest.Client) error { return nil } // there are no steps
		return "", b.complete(ctx, w, unkept, progress)
	})
}

// powerOffLimit bounds the orderly end of a container.
const powerOffLimit = 3 * time.Minute

// powerOff has the container end as by its own poweroff, so that its services end too.
func (m *machine) powerOff(ctx context.Context) error {
	late := fmt.Errorf("the container did not power off within %s", powerOffLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, late)
	defer cancel()
	if err := m.process.Terminate(); err != nil {
		return err
	}
	select {
	case <-m.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !errors.Is(m.process.Err(), process.ErrSucceeded) {
		return fmt.Errorf("the container did not end as it should: %w", m.Err())
	}
	return nil
}

// merge copies the tree that a worker leaves: what it has written over the golden tree.
// What it takes to see that is mounted in a namespace that ends with the copy.
func merge(ctx context.Context, golden image.Golden, dir, to string) error {
	at, merged := filepath.Join(dir, diskDir), filepath.Join(dir, rootDir)
	seen := []mount{
		{"ext4", disk.ScratchOptions, filepath.Join(dir, diskFile), at},
		stacked([]string{filepath.Join(at, layerDir), golden.Tree()}, merged),
	}
	arguments := among(seen, "cp", "--archive", "--no-target-directory", "--", merged, to)
	out, err := exec.CommandContext(ctx, "unshare", arguments...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s", err, out), os.RemoveAll(to))
	}
	return awaitDetached(ctx, filepath.Join(dir, diskFile))
}

// among are the arguments of unshare(1) that run a command in a namespace with mounts.
func among(mounts []mount, command ...string) []string {
	arguments := []string{"--mount", "--propagation", "private", "sh", "-euc", mountAll + `; exec "$@"`, "mayfly"}
	return append(append(arguments, mountArguments(mounts)...), command...)
}
