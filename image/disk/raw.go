//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ToRaw makes dst, which must not exist, a raw disk of size bytes from the raw, qcow2 or
// VMDK image src, which may be compressed with gzip, xz or zstd. What comes after the end
// of the image reads as zeros; its partition table and file system grow when the guest
// boots. An image that no firmware would boot is refused here: otherwise that would show
// only when the time for a first boot has passed.
func ToRaw(ctx context.Context, src, dst string, size int64) error {
	src, err := filepath.Abs(src) // QEMU takes what comes before a colon for a protocol
	if err != nil {
		return fmt.Errorf("image %s: %w", src, err)
	}
	named := src
	unpacked, err := unpack(ctx, src, dst+unpackedSuffix, Largest(size))
	if err != nil {
		return fmt.Errorf("image %s: %w", named, err)
	}
	if unpacked {
		src = dst + unpackedSuffix
		defer os.RemoveAll(src)
	}
	return toRaw(ctx, named, src, dst, size)
}

// unpackedSuffix is what the name of a disk gets for its image without compression.
const unpackedSuffix = ".unpacked"

// Largest is how many bytes the file of an image has at most whose disk has so many:
// all of them, and the tables of its format.
func Largest(disk int64) int64 { return disk + disk/8 + 64<<20 }

// toRaw is ToRaw for the file src, which messages call by another name.
func toRaw(ctx context.Context, named, src, dst string, size int64) error {
	head, err := readHeader(src)
	if err != nil {
		return fmt.Errorf("image %s: %w", named, err)
	}
	if head.size > size {
		return fmt.Errorf("image %s is a disk of %d bytes, more than the %d of machine.disk: raise machine.disk",
			named, head.size, size)
	}
	if err := convert(ctx, head.format, src, dst); err != nil {
		return fmt.Errorf("image %s: %w", named, err)
	}
	if err := checkBootSector(dst, head.size); err != nil {
		return errors.Join(fmt.Errorf("image %s: %w", named, err), os.Remove(dst))
	}
	if err := os.Truncate(dst, size); err != nil {
		return errors.Join(fmt.Errorf("growing disk %s to %d bytes: %w", dst, size, err), os.Remove(dst))
	}
	return nil
}

func convert(ctx context.Context, format, src, dst string) error {
	if format == "raw" {
		return copyRaw(ctx, src, dst)
	}
	if err := checkClusters(ctx, format, src); err != nil {
		return fmt.Errorf("image %s: %w", src, err)
	}
	if err := reserve(dst); err != nil {
		return fmt.Errorf("converting image: %w", err)
	}
	target, err := filepath.Abs(dst)
	if err != nil {
		return fmt.Errorf("converting image: %w", err)
	}
	if _, err := run(ctx, "qemu-img", "convert", "-q", "-f", format, "-O", "raw", src, target); err != nil {
		return errors.Join(fmt.Errorf("converting image %s from %s: %w", src, format, err), os.Remove(dst))
	}
	return nil
}

// checkClusters refuses an image whose clusters are not all where its tables say.
// What lies behind the end of a file that is cut short would be converted to zeros.
func checkClusters(ctx context.Context, format, src string) error {
	const corrupt = 2 // an exit code of qemu-img check; leaked clusters, which do no harm, are another
	_, err := run(ctx, "qemu-img", "check", "-q", "-f", format, src)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == corrupt:
		return fmt.Errorf("it is damaged or cut short, fetch it again: %w", err)
	case exit != nil && ctx.Err() == nil && exit.ExitCode() > 2:
		return nil
	}
	return err
}

// copyRaw shares blocks where that is possible: a downloaded image and the disk
// made from it are often on one file system.
func copyRaw(ctx context.Context, src, dst string) error {
	err := reflink(src, dst)
	if errors.Is(err, errNoReflink) {
		return SparseCopy(ctx, src, dst)
	}
	if err != nil {
		return fmt.Errorf("copying image %s to %s: %w", src, dst, err)
	}
	return nil
}
