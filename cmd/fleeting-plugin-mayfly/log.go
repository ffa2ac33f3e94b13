package main

import (
	"io"
	"log/slog"
	"regexp"
)

// withoutTimestamps passes a log on without the field that the plugin library
// puts at the end of every line of a plugin: the time stands at its beginning.
type withoutTimestamps struct{ to io.Writer }

var timestampField = regexp.MustCompile(`(?m) timestamp="?[0-9T:.+Z-]+"?$`)

// Write is called for each line of the log.
func (w withoutTimestamps) Write(line []byte) (int, error) {
	if _, err := w.to.Write(timestampField.ReplaceAll(line, nil)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// withoutTime leaves out when something was logged: a person who reads it sees it
// appear.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// withoutRepeats passes each line on once: a command may choose a backend several
// times, and log each time that there is no KVM. A logger calls it by one
// goroutine at a time.
type withoutRepeats struct {
	to   io.Writer
	said map[string]bool
}

// Write is called for each line of the log.
func (w *withoutRepeats) Write(line []byte) (int, error) {
	if w.said[string(line)] {
		return len(line), nil
	}
	if w.said == nil {
		w.said = make(map[string]bool)
	}
	w.said[string(line)] = true
	return w.to.Write(line)
}
