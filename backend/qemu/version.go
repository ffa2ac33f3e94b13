//go:build linux

package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// version is QEMU's; the zero value is older than all.
type version struct{ major, minor int }

// parseVersion reads the first line of --version.
func parseVersion(line string) (v version, err error) {
	if _, err := fmt.Sscanf(line, "QEMU emulator version %d.%d", &v.major, &v.minor); err != nil {
		return version{}, fmt.Errorf("%q is not a version of QEMU: %w", line, err)
	}
	return v, nil
}

// mapsReadOnly says whether memory that is mapped privately can be in a file that
// is opened only for reading: the option rom=off came with 8.2.
func (v version) mapsReadOnly() bool { return v.major > 8 || v.major == 8 && v.minor >= 2 }

// versions remembers the version of a binary, as long as that is the same file.
type versions struct {
	mu      sync.Mutex
	path    string
	changed time.Time
	known   version
}

// of asks the binary when it is another than last time. It is the zero value where
// the binary does not say: whoever starts it hears why.
func (v *versions) of(binary string) version {
	path, err := programs.FindConfigured(binary)
	if err != nil {
		return version{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return version{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.path != path || !v.changed.Equal(info.ModTime()) {
		out, err := exec.Command(path, "--version").Output()
		if err != nil {
			return version{}
		}
		v.path, v.changed = path, info.ModTime()
		v.known, _ = parseVersion(string(out))
	}
	return v.known
}
