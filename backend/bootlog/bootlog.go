// Package bootlog looks after the files that machines, and the programs that run
// them, write to: it keeps them short, and quotes their ends. Which files there
// are, and who reads them, is the backends' business.
package bootlog

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// longest is how much room, in bytes, a log may take before it begins anew:
	// what a guest writes there must not fill the host's disk.
	longest = 16 << 20
	// pause is how often that is looked at.
	pause = 5 * time.Second
	// tailLines is how many last lines Tail shows, and tailBytes how many bytes
	// are read for them.
	tailLines = 20
	tailBytes = 8 << 10
)

// Bound keeps files short that a machine writes to, until the machine is done.
func Bound(done <-chan struct{}, paths ...string) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			for _, path := range paths {
				bound(path)
			}
		}
	}
}

// bound goes by the room that a file takes: after it was cut, one that is not
// written to its end has a hole at its beginning.
func bound(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Blocks*512 > longest {
		_ = os.Truncate(path, 0) // tried again in a moment
	}
}

// Tail is the end of a console as the end of an error's text.
func Tail(path string) string {
	lines := lastLines(path, tailLines)
	if len(lines) == 0 {
		return ""
	}
	return "\nlast lines of the console:\n  " + strings.Join(lines, "\n  ")
}

// LastLine is the last line of a log as the end of an error's text.
func LastLine(path string) string {
	lines := lastLines(path, 1)
	if len(lines) == 0 {
		return ""
	}
	return ": " + lines[0]
}

// lastLines returns at most so many lines from the end of a file; none when it
// cannot be read.
func lastLines(path string, most int) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-tailBytes), tailBytes))
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(text), "\uFFFD")) {
		if line = strings.TrimLeft(strings.TrimRight(line, "\r\n \t"), "\x00"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-most):]
}
