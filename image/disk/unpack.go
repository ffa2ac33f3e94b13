//go:build linux

package disk

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/klauspost/compress/zstd"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// compressions are what images may be compressed with, by how files of it begin.
var compressions = []struct {
	magic, name string
	open        func(context.Context, io.Reader) (io.ReadCloser, error)
}{
	{"\x1f\x8b", "gzip", func(_ context.Context, r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{"\xfd7zXZ\x00", "xz", openXZ},
	{"\x28\xb5\x2f\xfd", "zstd", func(_ context.Context, r io.Reader) (io.ReadCloser, error) {
		reader, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return reader.IOReadCloser(), nil
	}},
}

// maxWindow is how much memory in bytes a compressed file may ask for: xz -9 asks for
// half of it.
const maxWindow = 128 << 20

// openXZ has xz(1) unpack, which keeps to a limit of memory whatever the file's blocks
// ask for, and is several times as fast as what Go has for it.
func openXZ(ctx context.Context, in io.Reader) (io.ReadCloser, error) {
	path, err := programs.Find("xz")
	if err != nil {
		return nil, err
	}
	x := &unpacking{}
	limit := fmt.Sprintf("--memlimit-decompress=%d", maxWindow)
	x.cmd = exec.CommandContext(ctx, path, "--decompress", "--stdout", limit)
	x.cmd.Env, x.cmd.Stdin, x.cmd.Stderr = append(os.Environ(), "LC_ALL=C"), in, &x.said
	if x.output, err = x.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return x, x.cmd.Start()
}

// unpacking is the output of a process of xz(1), whose failure is an error of reading.
type unpacking struct {
	cmd    *exec.Cmd
	output io.ReadCloser
	said   bytes.Buffer
	ended  bool
}

func (x *unpacking) Read(p []byte) (int, error) {
	n, err := x.output.Read(p)
	if err == io.EOF && !x.ended {
		x.ended = true
		if failed := x.cmd.Wait(); failed != nil {
			return n, fmt.Errorf("%w: %s", failed, bytes.TrimSpace(x.said.Bytes()))
		}
	}
	return n, err
}

// Close ends the process, if it has not ended.
func (x *unpacking) Close() error {
	if x.ended {
		return nil
	}
	x.ended = true
	_ = x.cmd.Process.Kill()
	_ = x.cmd.Wait()
	return nil
}

// unpack makes dst, which must not exist, of the compressed file src; false says that
// src is not compressed. The result may have limit bytes. Zeros become holes.
func unpack(ctx context.Context, src, dst string, limit int64) (unpacked bool, err error) {
	in, err := os.Open(src)
	if err != nil {
		return false, err
	}
	defer in.Close()
	start := make([]byte, 8)
	n, err := io.ReadFull(in, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	for _, c := range compressions {
		if !bytes.HasPrefix(start[:n], []byte(c.magic)) {
			continue
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		if err := unpackTo(ctx, in, c.open, dst, limit); err != nil {
			return false, errors.Join(fmt.Errorf("unpacking it from %s: %w", c.name, err), os.RemoveAll(dst))
		}
		return true, nil
	}
	return false, nil
}

func unpackTo(
	ctx context.Context, in io.Reader, open func(context.Context, io.Reader) (io.ReadCloser, error),
	dst string, limit int64,
) error {
	content, err := open(ctx, in)
	if err != nil {
		return err
	}
	defer content.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copySparse(ctx, content, out, limit), out.Close())
}

// copySparse copies all of a stream to an empty file.
func copySparse(ctx context.Context, in io.Reader, out *os.File, limit int64) error {
	buffer := make([]byte, block)
	for at := int64(0); ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := readFull(in, buffer)
		if at+int64(n) > limit {
			return fmt.Errorf("it has more than the %d bytes that an image for machine.disk can have: "+
				"raise machine.disk, or name another file", limit)
		}
		if err := writeBlock(out, buffer[:n], at); err != nil {
			return err
		}
		at += int64(n)
		if err == io.EOF {
			return out.Truncate(at)
		}
		if err != nil {
			return fmt.Errorf("it is damaged or cut short, fetch it again: %w", err)
		}
	}
}

// readFull is io.ReadFull with the reader's own error, by which the end of a stream is
// told from one that was cut.
func readFull(in io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var read int
		read, err = in.Read(buffer[n:])
		n += read
	}
	return n, err
}
