//go:build !linux

package fakeguest

import (
	"errors"
	"os/exec"
)

// Main does nothing: there are no guests on this system.
func Main() {}

// Boot fails: guests need Linux's namespaces.
func Boot(string, string) (*exec.Cmd, error) {
	return nil, errors.New("fake guests need Linux")
}

func inRoot(*exec.Cmd, string) {}
