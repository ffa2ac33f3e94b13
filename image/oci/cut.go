//go:build linux

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/restic/chunker"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

const (
	// minChunk is the size that chunks have while there are not too many of them.
	minChunk = 512 << 10
	// maxChunk bounds what a chunk takes in memory.
	maxChunk = 8 << 20
	// manyChunks is how many a part may become: registries take a manifest of 4 MiB.
	manyChunks = 9000
)

// stretch is a piece of a part, with its content.
type stretch struct {
	at      int64
	content []byte
}

// cutter yields the stretches of a part, in order. The content is its caller's to keep.
type cutter = iter.Seq2[stretch, error]

// cutDisk cuts a disk into pieces of one size, and leaves out those that are zeros. A
// file system changes its blocks in place: what is not written to stays where it is.
func cutDisk(ctx context.Context, file *os.File, size, piece int64) cutter {
	return func(yield func(stretch, error) bool) {
		for at := int64(0); at < size; at += piece {
			start, _, err := disk.NextData(file, at, size)
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(stretch{}, fmt.Errorf("reading %s: %w", file.Name(), err))
				return
			}
			if at = start / piece * piece; at >= size {
				return
			}
			content := make([]byte, min(piece, size-at))
			if _, err := file.ReadAt(content, at); err != nil && err != io.EOF {
				yield(stretch{}, fmt.Errorf("reading %s: %w", file.Name(), err))
				return
			}
			if !isZeros(content) && !yield(stretch{at, content}, nil) {
				return
			}
		}
	}
}

// polynomial is that by which streams are cut: another one would cut elsewhere, and
// nothing of what registries have would be found again.
const polynomial = chunker.Pol(0x3DA3358B4DC173)

// cutStream cuts a stream where its content says so: what is put into it, or taken out,
// changes the pieces around that place only.
func cutStream(stream io.Reader, piece int64) cutter {
	return func(yield func(stretch, error) bool) {
		cut := chunker.NewWithBoundaries(stream, polynomial, uint(piece/4), uint(min(4*piece, maxChunk)))
		cut.SetAverageBits(bits(piece))
		for at := int64(0); ; {
			next, err := cut.Next(nil)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(stretch{at, next.Data}, err) || err != nil {
				return
			}
			at += int64(next.Length)
		}
	}
}

// bits is the logarithm of a power of two.
func bits(n int64) (count int) {
	for ; n > 1; n >>= 1 {
		count++
	}
	return count
}

// pieceFor is how large the pieces of a part with so many bytes of data are: a power of
// two.
func pieceFor(data int64) (int64, error) {
	for piece := int64(minChunk); piece <= maxChunk; piece *= 2 {
		if data/piece < manyChunks {
			return piece, nil
		}
	}
	return 0, fmt.Errorf("%d bytes are more than one artifact can hold", data)
}

func isZeros(content []byte) bool { return len(bytes.TrimLeft(content, "\x00")) == 0 }
