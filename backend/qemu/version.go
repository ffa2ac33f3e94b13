//go:build linux

package qemu

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
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
	log *slog.Logger
	say sync.Once

	mu      sync.Mutex
	path    string
	changed time.Time
	known   version
}

// of asks the binary when it is another than last time. It is the zero value where
// the binary does not say. Where there is none, whoever starts it hears why.
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
	if v.path == path && v.changed.Equal(info.ModTime()) {
		return v.known
	}
	said, err := ask(path)
	if err != nil {
		v.say.Do(func() {
			v.log.Warn("QEMU gets to write to the memory of templates, as before 8.2: its version is not known",
				"err", err)
		})
		return version{}
	}
	v.path, v.changed, v.known = path, info.ModTime(), said
	return said
}

// askLimit bounds how long a binary may take to say its version: all machines that are
// launched meanwhile wait for it.
const askLimit = 10 * time.Second

func ask(binary string) (version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--version")
	cmd.WaitDelay = time.Second // for what a script has started
	out, err := cmd.Output()
	if err != nil {
		return version{}, fmt.Errorf("asking %s for its version: %w", binary, cmp.Or(context.Cause(ctx), err))
	}
	return parseVersion(string(out))
}
