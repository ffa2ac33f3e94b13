// Package lines takes the output of a program apart into lines, as they come,
// and keeps the last ones for the error of a program that fails.
package lines

import (
	"bytes"
	"strings"
)

const (
	// kept is how many last lines are kept.
	kept = 20
	// longest bounds a line in bytes, a longer one counts as several: progress
	// bars and binary rubbish may have no end of line at all.
	longest = 4096
)

// Writer shows each line that is written to it. A line that overwrites itself,
// as progress bars do, counts as many; blank ones do not count.
type Writer struct {
	show    func(line string)
	partial []byte
	last    []string
}

// New returns a Writer that calls show for each line.
func New(show func(line string)) *Writer { return &Writer{show: show} }

// Write never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		end := bytes.IndexAny(w.partial, "\r\n")
		switch {
		case end >= 0 && end <= longest:
			w.take(w.partial[:end])
			w.partial = w.partial[end+1:]
		case len(w.partial) >= longest:
			w.take(w.partial[:longest])
			w.partial = w.partial[longest:]
		default:
			return len(p), nil
		}
	}
}

// Flush takes a last line that has no end.
func (w *Writer) Flush() {
	w.take(w.partial)
	w.partial = nil
}

// Quote is the last lines as the end of an error's text.
func (w *Writer) Quote() string {
	w.Flush()
	if len(w.last) == 0 {
		return ""
	}
	return "; last lines:\n  " + strings.Join(w.last, "\n  ")
}

func (w *Writer) take(text []byte) {
	line := strings.ToValidUTF8(strings.TrimRight(string(text), " \t"), "�")
	if line == "" {
		return
	}
	w.show(line)
	if w.last = append(w.last, line); len(w.last) > kept {
		w.last = w.last[1:]
	}
}
