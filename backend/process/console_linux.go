package process

import (
	"io"
	"os"
	"strings"
	"time"
)

const (
	// longestLog is how long, in bytes, a machine's console may become before
	// it begins anew: what a guest writes there must not fill the host's disk.
	longestLog = 16 << 20
	// logCheck is how often that is looked at.
	logCheck = 5 * time.Second
	// tailLines is how many last lines of the console an error shows, and
	// tailBytes how much is read for them.
	tailLines = 20
	tailBytes = 8 << 10
)

// BoundLogs keeps files short that the process appends to, until it ends.
func (p *Process) BoundLogs(paths ...string) {
	ticker := time.NewTicker(logCheck)
	defer ticker.Stop()
	for {
		select {
		case <-p.Done():
			return
		case <-ticker.C:
			for _, path := range paths {
				if info, err := os.Stat(path); err == nil && info.Size() > longestLog {
					_ = os.Truncate(path, 0) // tried again in a moment
				}
			}
		}
	}
}

// ConsoleTail is the end of a console as the end of an error's text.
func ConsoleTail(path string) string {
	lines := LastLines(path, tailLines)
	if len(lines) == 0 {
		return ""
	}
	return "\nlast lines of the console:\n  " + strings.Join(lines, "\n  ")
}

// LastLines returns at most so many lines from the end of a file; none when it
// cannot be read.
func LastLines(path string, most int) []string {
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
		if line = strings.TrimRight(line, "\r\n \t"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-most):]
}
