//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Tag marks a process as a worker's, so that it is found in the list of processes
// after a crash: an option among its arguments, the value of which holds the
// worker's directory.
type Tag struct {
	// Option is the option. Its value is the next argument, or the rest of its own
	// where it ends in "=": Prefix, the directory of a worker below WorkersDir, and
	// Suffix.
	Option, Prefix, WorkersDir, Suffix string
}

// Value is the option's value for a worker's process.
func (t Tag) Value(id string) string {
	return t.Prefix + filepath.Join(t.WorkersDir, id) + t.Suffix
}

// ID is the worker that a command line belongs to.
func (t Tag) ID(arguments []string) (string, bool) {
	rest, ours := strings.CutPrefix(t.valueIn(arguments), t.Prefix+filepath.Clean(t.WorkersDir)+"/")
	id, whole := strings.CutSuffix(rest, t.Suffix)
	return id, ours && whole && workerid.Valid(id)
}

// valueIn is the option's value in a command line; empty without one.
func (t Tag) valueIn(arguments []string) string {
	for i, argument := range arguments {
		value, found := strings.CutPrefix(argument, t.Option)
		switch {
		case !found:
		case strings.HasSuffix(t.Option, "="):
			return value
		case value == "" && i+1 < len(arguments):
			return arguments[i+1]
		}
	}
	return ""
}

// Tagged is a running process with a tag.
type Tagged struct {
	*Process
	// Worker is the worker's id.
	Worker string
}

// Find adopts the running processes with the tag; only those of one worker
// when id is not empty. There is one for each worker, unless its program is
// started by a script or traced: then there are more.
func (t Tag) Find(id string) ([]Tagged, error) {
	found, err := t.look(id)
	if err != nil {
		return nil, err
	}
	var tagged []Tagged
	for running, worker := range found {
		child, err := Adopt(running)
		if errors.Is(err, ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adopting the machine of %s: %w", worker, err)
		}
		tagged = append(tagged, Tagged{child, worker})
	}
	return tagged, nil
}

// look is Find without adopting anything: whose each running process is.
func (t Tag) look(id string) (map[Identity]string, error) {
	found, err := Find(func(arguments []string) bool {
		other, ours := t.ID(arguments)
		return ours && (id == "" || other == id)
	})
	if err != nil {
		return nil, err
	}
	workers := make(map[Identity]string, len(found))
	for running, arguments := range found {
		workers[running], _ = t.ID(arguments)
	}
	return workers, nil
}

// Kill ends a worker's processes, whoever started them.
func (t Tag) Kill(ctx context.Context, id string) error {
	running, err := t.Find(id)
	if err != nil {
		return err
	}
	var failed []error
	for _, child := range running {
		failed = append(failed, child.Kill(ctx))
	}
	return errors.Join(failed...)
}
