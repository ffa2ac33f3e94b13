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
	// minPiece is about twice the size that chunks have while there are not too many of
	// them.
	minPiece = 512 << 10
	// maxChunk bounds what a chunk takes in memory.
	maxChunk = 8 << 20
	// manyPieces is how many a part may have: twice as many chunks come out, and
	// registries take a manifest of 4 MiB.
	manyPieces = 9000
)

// stretch is a piece of a part, with its content.
type stretch struct {
	at      int64
	content []byte
}

// cutter yields the stretches of a part, in order. The content is its caller's to keep.
type cutter = iter.Seq2[stretch, error]

// polynomial is that by which content is cut: another one would cut elsewhere, and
// nothing of what registries have would be found again.
const polynomial = chunker.Pol(0x3DA3358B4DC173)

// cutStream cuts a stream where its content says so: what is put into it, or taken out,
// changes the pieces around that place only.
func cutStream(stream io.Reader, piece int64) cutter {
	return func(yield func(stretch, error) bool) {
		newKnife(piece).cut(stream, 0, yield)
	}
}

// cutDisk does the same with each run of data, and leaves out what is zeros between them:
// a file system that is made anew has files at other places than the one before it.
func cutDisk(ctx context.Context, file *os.File, size, piece int64) cutter {
	return func(yield func(stretch, error) bool) {
		knife := newKnife(piece)
		for at := int64(0); at < size; {
			start, end, err := nextRun(ctx, file, at, size)
			if err != nil {
				yield(stretch{}, fmt.Errorf("reading %s: %w", file.Name(), err))
				return
			}
			if start < end && !knife.cut(io.NewSectionReader(file, start, end-start), start, yield) {
				return
			}
			at = end
		}
	}
}

// grain is the smallest hole between runs. Runs follow from what a disk holds, not from
// the holes of its file, which another file system or a copy has elsewhere.
const grain = 64 << 10

// nextRun finds the first blocks of size grain at or after at that are not zeros.
func nextRun(ctx context.Context, file *os.File, at, size int64) (start, end int64, err error) {
	block := make([]byte, grain)
	start = -1
	for at < size {
		if err := context.Cause(ctx); err != nil {
			return 0, 0, err
		}
		if start < 0 { // a hole is skipped unread
			data, _, err := disk.NextData(file, at, size)
			if err != nil {
				return 0, 0, err
			}
			if at = data / grain * grain; at >= size || data == size {
				break
			}
		}
		n, err := file.ReadAt(block[:min(grain, size-at)], at)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		switch zeros := isZeros(block[:n]); {
		case !zeros && start < 0:
			start = at
		case zeros && start >= 0:
			return start, at, nil
		}
		at += int64(n)
	}
	if start < 0 {
		return size, size, nil
	}
	return start, size, nil
}

// dataOf is how many bytes the runs of a disk have.
func dataOf(ctx context.Context, file *os.File, size int64) (bytes int64, err error) {
	for at := int64(0); at < size; {
		start, end, err := nextRun(ctx, file, at, size)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", file.Name(), err)
		}
		bytes, at = bytes+end-start, end
	}
	return bytes, nil
}

// knife is a chunker that is used for one run after the other.
type knife struct {
	chunker  *chunker.Chunker
	min, max uint
	bits     int
}

func newKnife(piece int64) *knife {
	k := &knife{min: uint(piece / 4), max: uint(min(4*piece, maxChunk)), bits: bits(piece)}
	k.chunker = chunker.NewWithBoundaries(nil, polynomial, k.min, k.max)
	return k
}

// cut yields the pieces of a stream that begins at a place of the part. False says that
// no more are wanted.
func (k *knife) cut(stream io.Reader, at int64, yield func(stretch, error) bool) bool {
	k.chunker.ResetWithBoundaries(stream, polynomial, k.min, k.max)
	k.chunker.SetAverageBits(k.bits)
	for {
		next, err := k.chunker.Next(nil)
		if errors.Is(err, io.EOF) {
			return true
		}
		if !yield(stretch{at, next.Data}, err) || err != nil {
			return false
		}
		at += int64(next.Length)
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
	for piece := int64(minPiece); piece <= maxChunk; piece *= 2 {
		if data/piece < manyPieces {
			return piece, nil
		}
	}
	return 0, fmt.Errorf("%d bytes are more than one artifact can hold", data)
}

func isZeros(content []byte) bool { return len(bytes.TrimLeft(content, "\x00")) == 0 }
