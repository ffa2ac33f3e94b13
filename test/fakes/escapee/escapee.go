//go:build linux

// Package escapee builds a program that plays one which a guest has taken over, and
// reads what it found out.
package escapee

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Build makes the program, and returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "escapee")
	_, here, _, _ := runtime.Caller(0)
	build := exec.Command("go", "build", "-o", path, "./program")
	build.Dir = filepath.Dir(here)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building what tries to escape: %w: %s", err, out)
	}
	return path, nil
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
