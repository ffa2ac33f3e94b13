package prebuild

import (
	"bytes"
	"strings"
)

const (
	// kept is how many last lines of a failed command its error shows.
	kept = 20
	// longestLine bounds a line of output in bytes: progress bars and binary
	// rubbish may have no end of line at all.
	longestLine = 4096
)

// lastLines splits what is written to it into lines, shows each, and keeps the
// last ones.
type lastLines struct {
	show    func(line string)
	partial []byte
	lines   []string
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexAny(l.partial, "\n\r")
		if end < 0 && len(l.partial) < longestLine {
			return len(p), nil
		}
		if end < 0 {
			end = longestLine - 1
		}
		l.take(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
	}
}

// flush takes a last line that has no end.
func (l *lastLines) flush() {
	l.take(string(l.partial))
	l.partial = nil
}

func (l *lastLines) take(line string) {
	line = strings.ToValidUTF8(strings.TrimRight(line, " \t"), "�")
	if line == "" {
		return
	}
	l.show(line)
	l.lines = append(l.lines, line)
	if len(l.lines) > kept {
		l.lines = l.lines[1:]
	}
}

// quote is the last lines as the end of an error's text.
func (l *lastLines) quote() string {
	l.flush()
	if len(l.lines) == 0 {
		return ""
	}
	return "; last lines:\n  " + strings.Join(l.lines, "\n  ")
}
