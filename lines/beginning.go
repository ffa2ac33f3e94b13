package lines

import "bytes"

// mostOfBeginning is how many bytes a Beginning keeps.
const mostOfBeginning = 64 << 10

// Beginning keeps the first 64 KiB that are written to it, and drops the rest: an
// answer that may have no end. Dropping lets its sender go on, where an error would
// have it wait for ever. The zero value is empty.
type Beginning struct{ kept bytes.Buffer }

// Write never fails.
func (b *Beginning) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), mostOfBeginning-b.kept.Len())])
	return len(p), nil
}

// String is what was kept.
func (b *Beginning) String() string { return b.kept.String() }
