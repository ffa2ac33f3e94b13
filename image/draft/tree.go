//go:build linux

package draft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap"
)

// runnerPath is where an image has gitlab-runner.
const runnerPath = "/usr/local/bin/gitlab-runner"

// Tree makes the draft of an image for containers: a root file system in
// golden.Tree(), which may be there already if it is empty.
func Tree(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) error {
	if err := checkTree(recipe); err != nil {
		return err
	}
	progress("packages", "")
	show := func(line string) { progress("packages", line) }
	return debootstrap.Maker{Container: true}.Make(ctx, recipe, golden.Dir, show)
}

func checkTree(recipe image.Recipe) error {
	if recipe.Source.Kind == image.Debootstrap {
		return nil
	}
	return fmt.Errorf("image.source: containers are made from packages, and a cloud image holds a whole disk: "+
		"write %q, or choose a backend of virtual machines", image.Debootstrap)
}

// TreeIngredients are what Maker.Ingredients are, for Tree.
func TreeIngredients(ctx context.Context, recipe image.Recipe) (string, error) {
	if recipe.Source.Kind == image.Saved { // there is no draft: the tree is there
		return revision, nil
	}
	if err := checkTree(recipe); err != nil {
		return "", err
	}
	system, err := debootstrap.Maker{Container: true}.Ingredients(ctx, recipe)
	return revision + "\n" + system, err
}

// Install puts the binaries into a tree that a disk's first boot takes from the seed
// volume. Steps may have run in the tree: nothing leads out of it. The files belong to
// the owner of the tree's root.
func Install(ctx context.Context, recipe image.Recipe, golden image.Golden) (err error) {
	root, err := os.OpenRoot(golden.Tree())
	if err != nil {
		return fmt.Errorf("installing the agent: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := install(ctx, root, recipe.Agent, guest.AgentPath); err != nil {
		return err
	}
	if recipe.GitLabRunner == "" || !ours(root) {
		return nil
	}
	if err := install(ctx, root, recipe.GitLabRunner, runnerPath); err != nil {
		return err
	}
	return markRunner(root)
}

// ours says whether gitlab-runner in the tree is as it was installed, or was never
// installed; see runnerMark.
func ours(root *os.Root) bool {
	mark, err := root.Stat(inside(runnerMark))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	there, statErr := root.Stat(inside(runnerPath))
	return err == nil && statErr == nil && there.ModTime().Equal(mark.ModTime())
}

func markRunner(root *os.Root) error {
	there, err := root.Stat(inside(runnerPath))
	if err != nil {
		return err
	}
	mark, err := root.Create(inside(runnerMark))
	if err != nil {
		return err
	}
	return errors.Join(mark.Close(), own(root, inside(runnerMark)),
		root.Chtimes(inside(runnerMark), there.ModTime(), there.ModTime()))
}

// inside is a path of the guest's as an os.Root takes it.
func inside(path string) string { return strings.TrimPrefix(path, "/") }

// own gives a file to the owner of the tree's root.
func own(root *os.Root, name string) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return root.Lchown(name, int(owner.Uid), int(owner.Gid))
}

func install(ctx context.Context, root *os.Root, from, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("installing %s: %w", from, err)
		}
	}()
	to := inside(path)
	if err := makeDirectories(root, filepath.Dir(to)); err != nil {
		return err
	}
	if err := root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close(), own(root, to), context.Cause(ctx))
}

// makeDirectories makes the directories of a path that are missing.
func makeDirectories(root *os.Root, path string) error {
	if _, err := root.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirectories(root, filepath.Dir(path)); err != nil {
		return err
	}
	return errors.Join(root.Mkdir(path, 0o755), own(root, path))
}
