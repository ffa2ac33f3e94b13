//go:build linux

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// block is the unit in which zeros become holes.
const block = 64 << 10

var zeros [block]byte

// SparseCopy copies src to the new file dst and leaves holes where src has
// holes or zeros.
func SparseCopy(ctx context.Context, src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copying disk: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("copying disk: %w", err)
	}
	if err := Create(dst, info.Size()); err != nil {
		return err
	}
	if err := fill(ctx, in, info.Size(), dst); err != nil {
		return errors.Join(fmt.Errorf("copying disk %s to %s: %w", src, dst, err), os.Remove(dst))
	}
	return nil
}

func fill(ctx context.Context, in *os.File, size int64, dst string) error {
	out, err := os.OpenFile(dst, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for at := int64(0); at < size && err == nil; {
		var start, end int64
		if start, end, err = nextData(in, at, size); err == nil {
			err = copyData(ctx, in, out, start, end)
		}
		at = end
	}
	return errors.Join(err, out.Close())
}

// nextData returns the first extent of data at or after at. A file system that
// does not report holes has one extent, in which copyData then looks for zeros.
func nextData(file *os.File, at, size int64) (start, end int64, err error) {
	start, err = file.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = file.Seek(start, unix.SEEK_HOLE)
	return start, end, err
}

func copyData(ctx context.Context, in io.ReaderAt, out io.WriterAt, start, end int64) error {
	buf := make([]byte, block)
	for at := start; at < end; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := in.ReadAt(buf[:min(block, end-at)], at)
		if n == 0 && err != nil {
			return err
		}
		if err := writeSparse(out, buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// writeSparse writes up to a block, unless it is zeros, which the file has there already.
func writeSparse(out io.WriterAt, content []byte, at int64) error {
	if bytes.Equal(content, zeros[:len(content)]) {
		return nil
	}
	_, err := out.WriteAt(content, at)
	return err
}
