// Package lines splits the output of a program into lines, as they come, and
// keeps the last ones for the error of a program that fails.
package lines

import (
	"bytes"
	"strings"
)

const (
	// kept is how many last lines are kept.
	kept = 20
	// longest bounds a line in bytes. A longer one counts as several, since
	// progress bars and binary data may have no end of line at all.
	longest = 4096
)

// Writer shows each line that is written to it. A carriage return ends a line as
// well, since progress bars use it. Blank lines are dropped.
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

// Flush shows a last line without an end of line.
func (w *Writer) Flush() {
	w.take(w.partial)
	w.partial = nil
}

// Quote returns the last lines as the end of an error's text, or nothing.
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
