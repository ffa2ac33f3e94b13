//go:build linux

// Package escapee builds a program that plays one which a guest has taken over, and
// reads what it found out.
package escapee

import (
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// Build makes the program, and returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "escapee")
	return path, testrun.BuildTo(path, "test/fakes/escapee/program")
}

// Worked is what comes of an attempt that works; else it is the error.
const Worked = "ok"

// Read reads the program's output: what came of each attempt, and the files that it
// has seen by walking.
func Read(path string) (results map[string]string, sees []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	results = map[string]string{}
	for line := range strings.Lines(string(text)) {
		attempt, result, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if attempt == "sees" {
			sees = append(sees, result)
			continue
		}
		results[attempt] = result
	}
	return results, sees, nil
}
