//go:build linux

package template

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Names of the files of a template, in its directory. A backend whose state is
// more than a file makes a directory of it.
const (
	templateFile = "template.json"
	memoryFile   = "memory"
	stateFile    = "state"
	diskFile     = "disk"
	overlayFile  = "overlay"
)

// AwaitBoot is a shell command that waits until a guest has nothing left to start,
// though not for ever.
const AwaitBoot = `n=0
while [ $n -lt 300 ] && systemctl list-jobs --no-legend --no-pager | grep -q .; do sleep 0.5; n=$((n+1)); done
`

// Settle is a shell command that does the same, and then reads what a fork needs
// first into the guest's memory.
const Settle = AwaitBoot + `udevadm settle >/dev/null 2>&1
set -- /usr/sbin/sshd /usr/lib/openssh/* /usr/lib/*/security/* /bin/bash /bin/sh /usr/bin/sudo /usr/bin/git ` + guest.AgentPath + `
cat "$@" $(ldd "$@" 2>/dev/null | grep -o '/[^ ]*') /lib*/*/libnss_* >/dev/null 2>&1
find /etc -xdev -type f -exec cat {} + >/dev/null 2>&1
/usr/sbin/sshd -V >/dev/null 2>&1
runuser -u nobody -- bash -lc true >/dev/null 2>&1
sync`

// Template is a golden image that was booted once, and saved with its memory.
type Template struct {
	Dir string `json:"-"`
	// Format is that of its disk, and Basis what it is valid for.
	Format string `json:"format"`
	Basis  Basis  `json:"basis"`
	// MadeAt is when, and MadeSeconds how long it took.
	MadeAt      time.Time `json:"made_at"`
	MadeSeconds float64   `json:"made_seconds"`
}

// Memory is the file that holds the memory.
func (t Template) Memory() string { return filepath.Join(t.Dir, memoryFile) }

// State is where the state of processors and devices is.
func (t Template) State() string { return filepath.Join(t.Dir, stateFile) }

// Disk is the disk, as it was when the memory was saved.
func (t Template) Disk() string { return filepath.Join(t.Dir, diskFile) }

// Overlay is an empty overlay on a file beside it, for backends whose forks get
// a copy of it.
func (t Template) Overlay() string { return filepath.Join(t.Dir, overlayFile) }

func (t Template) write() error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(t.Dir, templateFile), append(text, '\n'), 0o600,
		renameio.WithTempDir(t.Dir))
}
