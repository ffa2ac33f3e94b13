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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
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
	builder := func(ctx context.Context, work string, stack *cache.Stack) (image.Manifest, error) {
		return b.build(ctx, recipe, work, stack, progress)
	}
	return b.images().BuildInLayers(ctx, recipe, ingredients, builder)
}

func (b *Backend) images() *cache.Cache { return cache.New(b.options.ImagesDir).With(b.options.InUse) }

// ingredients are what the base of a tree is made of.
func ingredients(ctx context.Context, recipe image.Recipe) (string, error) {
	packages, err := draft.TreeIngredients(ctx, recipe)
	return packages + serviceTexts() + prebuild.Ingredients(recipe), err
}

func (b *Backend) build(
	ctx context.Context, recipe image.Recipe, dir string, stack *cache.Stack, progress image.Progress,
) (image.Manifest, error) {
	if err := prebuild.CheckSecrets(recipe); err != nil {
		return image.Manifest{}, err
	}
	w := &prebuild.Work{Golden: image.Golden{Dir: dir, Manifest: image.Manifest{Recipe: recipe}}}
	w.Keep = func(ctx context.Context) error { return keepTree(ctx, stack, w.Golden) }
	if err := b.begin(ctx, stack, w, progress); err != nil {
		return image.Manifest{}, err
	}
	err := b.complete(ctx, w, func(ctx context.Context, agent *guest.Client) error {
		return keepFrozen(ctx, stack, w.Golden, agent)
	}, progress)
	return w.Manifest, err
}

// complete makes a golden image of a tree: it installs the agent, runs the steps that are
// left, and seals. Keep is called for each state that the tree is in.
func (b *Backend) complete(
	ctx context.Context, w *prebuild.Work, keep func(context.Context, *guest.Client) error, progress image.Progress,
) error {
	if err := draft.Install(ctx, w.Recipe, w.Golden); err != nil {
		return err
	}
	err := b.stage().Run(ctx, "image "+w.Recipe.Digest(), func(at stage.Place) error {
		return b.prebuild(ctx, at, w, keep, progress)
	})
	if err != nil {
		return bootlog.WithConsole(err, filepath.Join(w.Dir, buildLog))
	}
	if err := makeDisk(ctx, w.Golden); err != nil {
		return err
	}
	return syncTree(w.Tree())
}

// begin makes the tree that the steps run in: that of the highest layer, that of the saved
// image that the recipe names, or a new one of packages, which is the base.
func (b *Backend) begin(ctx context.Context, stack *cache.Stack, w *prebuild.Work, progress image.Progress) error {
	if layer, found := stack.Top(); found {
		progress("layer", layer.Found())
		w.GoOn(layer.Manifest)
		w.Prepared = len(w.Steps) > 1
		return disk.CopyTree(ctx, layer.Tree(), w.Tree())
	}
	if w.Recipe.Source.Kind == image.Saved {
		return b.beginSaved(ctx, w, progress)
	}
	began := time.Now()
	if err := os.Mkdir(w.Tree(), 0o755); err != nil {
		return err
	}
	if err := draft.Tree(ctx, w.Recipe, w.Golden, progress); err != nil {
		return err
	}
	if err := tree.Shift(w.Tree(), base(w.Recipe.Form)); err != nil {
		return err
	}
	if err := installServices(w.Golden); err != nil {
		return err
	}
	w.Begin(began)
	return w.KeepState(ctx, progress)
}

// beginSaved copies the tree of a saved image. It is no layer: the image is there.
func (b *Backend) beginSaved(ctx context.Context, w *prebuild.Work, progress image.Progress) (err error) {
	began := time.Now()
	saved, release, err := b.images().HoldSaved(ctx, w.Recipe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	progress("saved image", saved.Digest)
	w.Prepared = true
	if err := disk.CopyTree(ctx, saved.Tree(), w.Tree()); err != nil {
		return err
	}
	w.Begin(began)
	w.BaseAt = saved.BuiltAt
	return nil
}

// keepTree copies a tree that nothing writes to.
func keepTree(ctx context.Context, stack *cache.Stack, golden image.Golden) error {
	return stack.Keep(ctx, golden.Manifest, func(ctx context.Context, dir string) error {
		return copyTree(ctx, golden, image.Golden{Dir: dir})
	})
}

// keepFrozen is keepTree while a container runs in the tree.
func keepFrozen(ctx context.Context, stack *cache.Stack, golden image.Golden, agent *guest.Client) error {
	return stack.Keep(ctx, golden.Manifest, func(ctx context.Context, dir string) error {
		return agent.WhileFrozen(ctx, func() error { return copyTree(ctx, golden, image.Golden{Dir: dir}) })
	})
}

func copyTree(ctx context.Context, from, to image.Golden) error {
	if err := disk.CopyTree(ctx, from.Tree(), to.Tree()); err != nil {
		return err
	}
	return syncTree(to.Tree())
}

// stage is where the containers of image builds run.
func (b *Backend) stage() stage.Stage {
	return stage.Stage{
		Pool: b.options.Pool, WorkersDir: b.options.WorkersDir,
		Network: b.options.Network, Destroy: b.Destroy,
	}
}

// prebuild runs the agent in a container of the golden tree itself, which is not
// booted, and sends it requests over the container's standard input. Keep is called for
// each state that the tree is in.
func (b *Backend) prebuild(
	ctx context.Context, at stage.Place, w *prebuild.Work, keep func(context.Context, *guest.Client) error,
	progress image.Progress,
) error {
	root := b.directory(at.ID)
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("directory to mount the prebuild's tree at: %w", err)
	}
	ours, theirs, err := agentLine()
	if err != nil {
		return err
	}
	defer ours.Close()
	recipe := w.Recipe
	m, err := b.launch(container{
		id: at.ID, namespace: at.Lease.Namespace, form: recipe.Form,
		size:   backend.Size{CPUs: recipe.CPUs, Memory: recipe.Memory},
		mounts: []mount{bind(w.Tree(), root)}, console: filepath.Join(w.Dir, buildLog),
		command: []string{guest.AgentPath, "guest"}, input: theirs, givesWay: recipe.GivesWay,
	})
	err = errors.Join(err, theirs.Close()) // the container has its own
	if err != nil {
		return err
	}
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	agent := guest.NewClient(ours)
	w.Keep = func(ctx context.Context) error { return keep(ctx, agent) }
	return m.explain(prebuild.Tree(ctx, agent, w, progress))
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
