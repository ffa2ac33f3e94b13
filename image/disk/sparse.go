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
		if start, end, err = NextData(in, at, size); err == nil {
			err = copyData(ctx, in, out, start, end)
		}
		at = end
	}
	return errors.Join(err, out.Close())
}

// NextData returns the first extent of data at or after at; it begins at size when there
// is none. A file system that does not report holes has one extent, zeros included.
func NextData(file *os.File, at, size int64) (start, end int64, err error) {
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
		if err := writeBlock(out, buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// FillSparse writes size bytes of content to the new file, and leaves holes where they
// are zeros.
func FillSparse(file *os.File, content io.Reader, size int64) error {
	buf := make([]byte, block)
	for at := int64(0); at < size; {
		n, err := io.ReadFull(content, buf[:min(block, size-at)])
		if err != nil {
			return err
		}
		if err := WriteSparse(file, buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return file.Truncate(size)
}

// finest is the block of most file systems: no hole is smaller.
const finest = 4 << 10

// WriteSparse writes content to a file that reads as zeros there, and leaves out the
// blocks of it that are zeros.
func WriteSparse(out io.WriterAt, content []byte, at int64) error {
	for start := 0; start < len(content); {
		end := start
		for end < len(content) && !isZero(content[end:min(end+finest, len(content))]) {
			end = min(end+finest, len(content))
		}
		if end > start {
			if _, err := out.WriteAt(content[start:end], at+int64(start)); err != nil {
				return err
			}
		}
		start = min(end+finest, len(content))
	}
	return nil
}

func isZero(content []byte) bool { return bytes.Equal(content, zeros[:len(content)]) }

// writeBlock writes up to a block, unless it is zeros, which the file has there already.
func writeBlock(out io.WriterAt, content []byte, at int64) error {
	if isZero(content) {
		return nil
	}
	_, err := out.WriteAt(content, at)
	return err
}
