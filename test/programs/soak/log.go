//go:build linux

package main

import (
	"strings"
	"sync"
)

// log keeps the last lines of what the plugins log.
type log struct {
	mu    sync.Mutex
	lines []string
}

// kept is how many lines.
const kept = 300

// Write takes whole lines, as loggers and plugins write them.
func (l *log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimRight(string(text), "\n"))
	l.lines = l.lines[max(0, len(l.lines)-kept):]
	return len(text), nil
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
