package testrun

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// ProgramName is the name of the program.
	ProgramName = "fleeting-plugin-mayfly"
	source      = "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cmd/" + ProgramName
)

// Build builds the program into a directory, as a release is built, and
// returns its path.
func Build(dir string) (binary string, err error) {
	binary = filepath.Join(dir, ProgramName)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return binary, nil
}
