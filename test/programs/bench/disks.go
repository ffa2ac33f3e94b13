//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// How often a disk is made by each method; a full copy writes gigabytes.
const (
	diskRounds = 5
	fullRounds = 3
)

// errNotHere says that the file system cannot do it.
var errNotHere = errors.New("not on this file system")

// diskMethods are the ways of making dst from src, the best first.
var diskMethods = []struct {
	name   string
	rounds int
	make   func(ctx context.Context, src, dst string) error
}{
	{"reflink", diskRounds, reflink},
	{"qcow2 overlay", diskRounds, disk.Stack},
	{"sparse copy", diskRounds, disk.SparseCopy},
	{"full copy", fullRounds, fullCopy},
}

// measureDisks makes disks of the golden disk where the state directory is, and
// on file systems that can reflink, in a file each.
func (b *bench) measureDisks(ctx context.Context, s *stage) ([]report.Disk, error) {
	dir := filepath.Join(b.work, "disks")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	own, err := fileSystem(ctx, dir)
	if err != nil {
		return nil, err
	}
	all, err := b.measureDisksIn(ctx, own, s.golden.Disk(), dir)
	for _, kind := range []string{"xfs", "btrfs"} {
		if err != nil {
			return nil, err
		}
		var some []report.Disk
		some, err = b.measureDisksOn(ctx, kind, s)
		all = append(all, some...)
	}
	return all, err
}

// measureDisksOn makes the file system in a file. One that this machine cannot
// make or mount is passed over.
func (b *bench) measureDisksOn(ctx context.Context, kind string, s *stage) (found []report.Disk, err error) {
	file := filepath.Join(b.work, kind)
	defer os.Remove(file)
	if err := disk.Create(file, 2*guestDisk+(2<<30)); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "mkfs."+kind, "-q", file).CombinedOutput(); err != nil {
		b.say("  no %s here: %v %s", kind, err, out)
		return nil, ctx.Err()
	}
	began := false
	err = mounted(ctx, file, file+".mounted", func(root string) error {
		began = true
		golden := filepath.Join(root, image.DiskFile)
		if err := disk.SparseCopy(ctx, s.golden.Disk(), golden); err != nil {
			return err
		}
		found, err = b.measureDisksIn(ctx, kind+" on a loop file", golden, root)
		return err
	})
	if err != nil && !began && ctx.Err() == nil {
		b.say("  no %s here: %v", kind, err)
		return nil, nil
	}
	return found, err
}

func (b *bench) measureDisksIn(ctx context.Context, where, golden, dir string) ([]report.Disk, error) {
	var all []report.Disk
	for _, method := range diskMethods {
		b.say("disks by %s on %s", method.name, where)
		var took, allocated []float64
		for range method.rounds {
			dst := filepath.Join(dir, "made")
			began := time.Now()
			err := method.make(ctx, golden, dst)
			if errors.Is(err, errNotHere) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", method.name, where, err)
			}
			took = append(took, seconds(time.Since(began)))
			blocks, err := allocatedBlocks(dst)
			if err = errors.Join(err, os.Remove(dst)); err != nil {
				return nil, err
			}
			allocated = append(allocated, blocks)
		}
		if len(took) > 0 {
			all = append(all, report.Disk{
				FileSystem: where, Method: method.name,
				Seconds: report.NewSeries(took), Allocated: report.NewSeries(allocated),
			})
		}
	}
	return all, nil
}

func allocatedBlocks(path string) (float64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return 0, err
	}
	return float64(stat.Blocks) * 512, nil
}

// reflink is disk.Clone where that can do it.
func reflink(ctx context.Context, src, dst string) error {
	method, err := disk.Clone(ctx, src, dst)
	if err == nil && method != disk.Reflink {
		return errors.Join(errNotHere, os.Remove(dst))
	}
	return err
}

// fullCopy writes every byte, those of holes too, and hides from the library
// that both are files: it would have the kernel share their blocks.
func fullCopy(ctx context.Context, src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, interruptible{ctx, in}, make([]byte, 1<<20))
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(fmt.Errorf("copying in full: %w", err), os.Remove(dst))
	}
	return nil
}

// interruptible is a reader that fails once ctx has ended.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (r interruptible) Read(into []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(into)
}
