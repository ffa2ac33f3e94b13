//go:build linux

package main

import (
	"io"
	"os"
	"strings"
	"sync"
)

// log keeps the last lines of what the plugins log, and writes all of it to a file,
// if there is one.
type log struct {
	mu    sync.Mutex
	lines []string
	file  io.WriteCloser
}

func openLog(path string) (*log, error) {
	if path == "" {
		return &log{}, nil
	}
	file, err := os.Create(path)
	return &log{file: file}, err
}

func (l *log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// kept is how many lines.
const kept = 300

// Write takes whole lines, as loggers and plugins write them.
func (l *log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimRight(string(text), "\n"))
	l.lines = l.lines[max(0, len(l.lines)-kept):]
	if l.file != nil {
		return l.file.Write(text)
	}
	return len(text), nil
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
