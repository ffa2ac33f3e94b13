// Package output collects what goroutines and processes print while a test reads
// it. What is in a text, tests see for themselves.
package output

import (
	"strings"
	"sync"
)

// Buffer is a text that may be written to and read at once. Its zero value is
// empty.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to the text.
func (b *Buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

// String is the text up to now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
