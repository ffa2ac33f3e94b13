package source

import (
	"bytes"
	"strings"
)

// kept is how many of the last lines an error repeats.
const kept = 15

// lines is a writer that hands on whole lines and remembers the last ones. A
// line that overwrites itself, as progress bars do, counts as many.
type lines struct {
	output func(line string)
	rest   []byte
	last   []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexAny(l.rest, "\r\n")
		if end < 0 {
			return len(p), nil
		}
		l.emit(string(l.rest[:end]))
		l.rest = l.rest[end+1:]
	}
}

// flush hands on a last line that has no end.
func (l *lines) flush() {
	l.emit(string(l.rest))
	l.rest = nil
}

func (l *lines) emit(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	if l.last = append(l.last, line); len(l.last) > kept {
		l.last = l.last[1:]
	}
	l.output(line)
}

func (l *lines) tail() string { return strings.Join(l.last, "\n") }
