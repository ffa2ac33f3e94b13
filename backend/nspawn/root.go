//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// Parts of a worker's directory, besides its root.
const (
	// diskFile holds the file system that takes what the worker writes, and
	// diskDir is where that is mounted.
	diskFile = "disk"
	diskDir  = "upper"
	// identityDir holds the files of the worker's identity.
	identityDir = "identity"
)

// Directories of an overlay, in the file system of diskFile.
const (
	layerDir = "layer"
	workDir  = "work"
)

// makeDisk makes the golden disk of a tree: an empty file system of the recipe's
// size, in a sparse file that is copied for each worker. The root of the upper
// layer is the root of the container, and so has its owner and mode.
func makeDisk(ctx context.Context, golden image.Golden) error {
	var root unix.Stat_t
	if err := unix.Stat(golden.Tree(), &root); err != nil {
		return fmt.Errorf("asking for the owner of the golden tree: %w", err)
	}
	content, err := os.MkdirTemp(golden.Dir, ".disk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(content)
	layer, work := filepath.Join(content, layerDir), filepath.Join(content, workDir)
	err = errors.Join(
		os.Mkdir(layer, 0o700), os.Mkdir(work, 0o700),
		os.Chown(layer, int(root.Uid), int(root.Gid)), unix.Chmod(layer, root.Mode&0o7777))
	if err != nil {
		return err
	}
	return disk.Scratch(ctx, content, golden.Disk(), golden.Recipe.Disk)
}

// cloneTree makes what a worker's root is mounted from in its directory: a disk of
// its own, which takes what it writes, and a layer for its identity, over the golden
// tree.
func cloneTree(ctx context.Context, golden image.Golden, dir string) error {
	for _, name := range []string{rootDir, diskDir, identityDir} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	return disk.SparseCopy(ctx, golden.Disk(), filepath.Join(dir, diskFile))
}

// mounts make a worker's root of what cloneTree has made.
func mounts(golden image.Golden, dir string) []mount {
	at := filepath.Join(dir, diskDir)
	lower := []string{filepath.Join(dir, identityDir), golden.Tree()}
	return []mount{
		{"ext4", disk.ScratchOptions, filepath.Join(dir, diskFile), at},
		overlay(lower, filepath.Join(at, layerDir), filepath.Join(at, workDir), filepath.Join(dir, rootDir)),
	}
}

// mount is the arguments of mount(8).
type mount struct{ kind, options, source, target string }

// overlay is the mount of an overlay; of its lower layers the first lies uppermost.
func overlay(lower []string, upper, work, at string) mount {
	return mount{"overlay", lowerOption(lower) + ",upperdir=" + upper + ",workdir=" + work, "overlay", at}
}

// stacked is the mount of an overlay of which nothing can be written.
func stacked(lower []string, at string) mount {
	return mount{"overlay", lowerOption(lower), "overlay", at}
}

// lowerOption escapes colons, which would end the path of a layer.
func lowerOption(lower []string) string {
	var escaped []string
	for _, layer := range lower {
		escaped = append(escaped, strings.ReplaceAll(layer, ":", `\:`))
	}
	return "lowerdir=" + strings.Join(escaped, ":")
}

// bind is the mount of a tree itself.
func bind(tree, at string) mount { return mount{"none", "bind", tree, at} }
