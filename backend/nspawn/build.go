//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// buildLog is what the prebuild's container printed, kept with the image.
const buildLog = "prebuild.log"

// Build makes the golden image unless it is there. Its recipe says which form
// of tree it is; see Form.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if recipe.Form != image.Tree && recipe.Form != image.ShiftedTree {
		return image.Golden{}, fmt.Errorf("containers are made from a tree, not from an image of form %q", recipe.Form)
	}
	images := cache.New(b.options.ImagesDir)
	return images.Build(ctx, recipe.Digest(), func(ctx context.Context, work string) (image.Manifest, error) {
		began := time.Now()
		err := b.build(ctx, recipe, work, progress)
		return image.Manifest{
			Recipe: recipe, BuiltAt: time.Now().UTC().Truncate(time.Second), BuiltSeconds: time.Since(began).Seconds(),
		}, err
	})
}

func (b *Backend) build(ctx context.Context, recipe image.Recipe, work string, progress image.Progress) error {
	golden := image.Golden{Dir: work, Manifest: image.Manifest{Recipe: recipe}}
	if err := tree.Make(golden.Tree()); err != nil {
		return err
	}
	if err := draft.Tree(ctx, recipe, golden, progress); err != nil {
		return err
	}
	if err := tree.Shift(golden.Tree(), base(recipe.Form)); err != nil {
		return err
	}
	if err := installServices(golden); err != nil {
		return err
	}
	id := workerid.Derived(b.options.Pool, "image "+recipe.Digest())
	err := b.asWorker(ctx, id, func(lease network.Lease) error { return b.prebuild(ctx, id, golden, lease, progress) })
	if err != nil {
		return fmt.Errorf("%w%s", err, bootlog.Tail(filepath.Join(work, buildLog)))
	}
	return syncTree(golden.Tree())
}

// prebuild runs the agent in a container of the golden tree itself, which is
// not booted, and drives it over the container's standard input.
func (b *Backend) prebuild(ctx context.Context, id string, golden image.Golden, lease network.Lease, progress image.Progress) error {
	at := b.directory(id)
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	ours, theirs, err := line()
	if err != nil {
		return err
	}
	defer ours.Close()
	recipe := golden.Recipe
	m, err := b.launch(container{
		id: id, namespace: lease.Namespace, size: backend.Size{CPUs: recipe.CPUs, Memory: recipe.Memory}, form: recipe.Form,
		mount: bind(golden.Tree(), at), console: filepath.Join(golden.Dir, buildLog),
		command: []string{draft.AgentPath, "guest"}, input: theirs,
	})
	err = errors.Join(err, theirs.Close()) // the container has its own
	if err != nil {
		return err
	}
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	return m.explain(prebuild.Tree(ctx, guest.NewClient(ours), recipe, progress))
}

// line is a connection, one end of which a process can inherit.
func line() (ours net.Conn, theirs *os.File, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a line to the agent: %w", err)
	}
	file, theirs := os.NewFile(uintptr(ends[0]), "agent"), os.NewFile(uintptr(ends[1]), "agent")
	defer file.Close()
	if ours, err = net.FileConn(file); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making a line to the agent: %w", err), theirs.Close())
	}
	return ours, theirs, nil
}

// asWorker runs something that has an id, a lease and a directory like a
// worker's, so that what a killed process leaves of it is found and removed
// like what a worker left.
func (b *Backend) asWorker(ctx context.Context, id string, run func(network.Lease) error) (err error) {
	dir := filepath.Join(b.options.WorkersDir, id)
	if err := b.removeAsWorker(ctx, id, dir); err != nil { // of an earlier try
		return err
	}
	defer func() { err = errors.Join(err, b.removeAsWorker(context.WithoutCancel(ctx), id, dir)) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of %s: %w", id, err)
	}
	lease, err := b.options.Network.Acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("network of %s: %w", id, err)
	}
	return run(lease)
}

// removeLimit bounds the removal of what lived like a worker.
const removeLimit = 30 * time.Second

func (b *Backend) removeAsWorker(ctx context.Context, id, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	return errors.Join(b.Destroy(ctx, id), b.options.Network.Release(ctx, id), os.RemoveAll(dir))
}

// syncTree has everything on the disk before the image gets its name.
func syncTree(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
