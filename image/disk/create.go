//go:build linux

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Create makes an empty sparse file of size bytes. A file that exists is an
// error: it may be the disk of another worker.
func Create(path string, size int64) error {
	if err := reserve(path); err != nil {
		return fmt.Errorf("creating disk: %w", err)
	}
	if err := os.Truncate(path, size); err != nil {
		return errors.Join(fmt.Errorf("creating disk of %d bytes: %w", size, err), os.Remove(path))
	}
	return nil
}

// FromDirectory makes an ext4 file system of size bytes in the new sparse file
// path, with the given label and what is below dir in it. Owners are kept, so
// for a whole system the caller must be root.
func FromDirectory(ctx context.Context, dir, path string, size int64, label string) error {
	return mkfs(ctx, dir, path, size, "-L", label)
}

// Scratch is FromDirectory for a file system that nobody reads after a crash: it
// has no journal, and all its blocks are for everybody. It is mounted with
// ScratchOptions.
func Scratch(ctx context.Context, dir, path string, size int64) error {
	return mkfs(ctx, dir, path, size, "-L", "scratch", "-O", "^has_journal,^resize_inode", "-m", "0")
}

// ScratchOptions are options of mount(8). What is deleted becomes a hole in the
// file, and inode tables, which read as zeros, are not written with zeros.
const ScratchOptions = "loop,discard,noinit_itable"

func mkfs(ctx context.Context, dir, path string, size int64, kind ...string) error {
	if err := Create(path, size); err != nil {
		return err
	}
	// What need not be written now is left to the first mount: the tables and the
	// journal of a sparse file read as zeros already.
	const options = "lazy_itable_init=1,lazy_journal_init=1,discard"
	args := append([]string{"-q", "-F", "-d", dir, "-E", options}, kind...)
	if _, err := run(ctx, "mkfs.ext4", append(args, path)...); err != nil {
		err = fmt.Errorf("making an ext4 file system of %d bytes from %s: %w", size, dir, err)
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// reserve makes path as an empty private file, or fails if it exists: the tools
// that then get the path overwrite what they find.
func reserve(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// mostSaid bounds in bytes what an error quotes of a tool. Of an image that is cut
// short qemu-img has a line to say for each cluster.
const mostSaid = 1000

// run runs a tool in the C locale and returns its standard output. The error has
// what the tool wrote to its standard error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := programs.Find(name)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err = cmd.Run(); err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // rather than "signal: killed", which names no reason
	}
	said := strings.TrimSpace(string(stderr.Bytes()[:min(stderr.Len(), mostSaid)]))
	if full := diskspace.Heard(said); full != nil {
		err = fmt.Errorf("%w: %w", err, full)
	}
	if said != "" {
		return nil, fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}
