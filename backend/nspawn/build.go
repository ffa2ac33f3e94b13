//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

// buildLog is what the prebuild's container printed, kept with the image.
const buildLog = "prebuild.log"

// Build makes the golden image unless it is there, or brings the one that another host
// has pushed. Its recipe says which form of tree it is; see Form.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if recipe.Form != image.Tree && recipe.Form != image.ShiftedTree {
		return image.Golden{}, fmt.Errorf("containers are made from a tree, not from an image of form %q", recipe.Form)
	}
	if recipe.Source.Kind == image.OCI {
		return b.options.Pull(ctx, recipe, progress)
	}
	builder := func(ctx context.Context, work string) (root string, err error) {
		return "", b.build(ctx, recipe, work, progress)
	}
	return cache.New(b.options.ImagesDir).Build(ctx, recipe, builder)
}

func (b *Backend) build(ctx context.Context, recipe image.Recipe, work string, progress image.Progress) error {
	golden := image.Golden{Dir: work, Manifest: image.Manifest{Recipe: recipe}}
	if err := os.Mkdir(golden.Tree(), 0o755); err != nil {
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
	err := b.stage().Run(ctx, "image "+recipe.Digest(), func(at stage.Place) error {
		return b.prebuild(ctx, at, golden, progress)
	})
	if err != nil {
		return bootlog.WithConsole(err, filepath.Join(work, buildLog))
	}
	if err := makeDisk(ctx, golden); err != nil {
		return err
	}
	return syncTree(golden.Tree())
}

// stage is where the containers of image builds run.
func (b *Backend) stage() stage.Stage {
	return stage.Stage{
		Pool: b.options.Pool, WorkersDir: b.options.WorkersDir,
		Network: b.options.Network, Destroy: b.Destroy,
	}
}

// prebuild runs the agent in a container of the golden tree itself, which is not
// booted, and sends it requests over the container's standard input.
func (b *Backend) prebuild(ctx context.Context, at stage.Place, golden image.Golden, progress image.Progress) error {
	root := b.directory(at.ID)
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("directory to mount the prebuild's tree at: %w", err)
	}
	ours, theirs, err := agentLine()
	if err != nil {
		return err
	}
	defer ours.Close()
	recipe := golden.Recipe
	m, err := b.launch(container{
		id: at.ID, namespace: at.Lease.Namespace, form: recipe.Form,
		size:   backend.Size{CPUs: recipe.CPUs, Memory: recipe.Memory},
		mounts: []mount{bind(golden.Tree(), root)}, console: filepath.Join(golden.Dir, buildLog),
		command: []string{guest.AgentPath, "guest"}, input: theirs,
	})
	err = errors.Join(err, theirs.Close()) // the container has its own
	if err != nil {
		return err
	}
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	return m.explain(prebuild.Tree(ctx, guest.NewClient(ours), recipe, progress))
}

// agentLine is a connection: our end, and a file for the standard input of the
// process at the other end.
func agentLine() (ours net.Conn, theirs *os.File, err error) {
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

// syncTree writes the file system of a tree to the disk, before the image gets
// its name.
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
