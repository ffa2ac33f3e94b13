package testrun

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// ProgramName is the name of the program.
const ProgramName = "fleeting-plugin-mayfly"

// Build builds the program into a directory, as a release is built, and
// returns its path.
func Build(dir string) (binary string, err error) {
	binary = filepath.Join(dir, ProgramName)
	return binary, BuildTo(binary, "cmd/"+ProgramName, "-trimpath", "-buildvcs=false")
}

// BuildTo builds a package, named by its folder in this module, to a file that runs
// wherever that is put.
func BuildTo(path, folder string, flags ...string) error {
	arguments := slices.Concat([]string{"build"}, flags,
		[]string{"-o", path, "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/" + folder})
	build := exec.Command("go", arguments...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", folder, err, out)
	}
	return nil
}
