//go:build linux

package nspawn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Parts of an overlay, in the worker's directory.
const (
	upperDir = "upper"
	workDir  = "work"
)

// root is a worker's copy of the golden tree.
type root struct {
	// writable is where files are written to before the container starts.
	writable string
	// mount is the mount that makes the copy whole; the supervisor makes it.
	mount mount
}

// mount is the arguments of mount(8).
type mount struct{ kind, options, source, target string }

// cloneTree makes a copy in a worker's directory: a snapshot where the golden
// tree is a btrfs subvolume on the same file system, elsewhere an overlay.
func cloneTree(golden image.Golden, dir string) (root, error) {
	at := filepath.Join(dir, rootDir)
	if tree.IsSubvolume(golden.Tree()) {
		err := tree.Snapshot(golden.Tree(), at)
		onAnotherFileSystem := errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTTY)
		if !onAnotherFileSystem {
			return root{at, bind(at, at)}, err
		}
	}
	upper, work := filepath.Join(dir, upperDir), filepath.Join(dir, workDir)
	var owner unix.Stat_t
	err := errors.Join(
		unix.Stat(golden.Tree(), &owner),
		os.Mkdir(at, 0o755), os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755))
	if err != nil {
		return root{}, err
	}
	// The root of the upper layer is the root of the container.
	if err := os.Chown(upper, int(owner.Uid), int(owner.Gid)); err != nil {
		return root{}, err
	}
	return root{upper, overlay(golden.Tree(), upper, work, at)}, nil
}

// overlay is the mount of an overlay. A colon would end the path of the lower
// layer, so it is escaped.
func overlay(lower, upper, work, at string) mount {
	options := "lowerdir=" + strings.ReplaceAll(lower, ":", `\:`) + ",upperdir=" + upper + ",workdir=" + work
	return mount{"overlay", options, "overlay", at}
}

// bind is the mount of a tree itself.
func bind(tree, at string) mount { return mount{"none", "bind", tree, at} }
