// Package bootlog looks after the files that machines, and the programs that run
// them, write to: it keeps them short, quotes their ends, and reads in them that a
// kernel has failed. Which files there are, and who reads them, is the backends'
// business.
package bootlog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

const (
	// longest is how much room, in bytes, a log may take before it begins anew:
	// what a guest writes there must not fill the host's disk.
	longest = 16 << 20
	// pause is how often that is looked at.
	pause = 5 * time.Second
	// lastBytes is how much of the end of a log is read for its last line.
	lastBytes = 8 << 10
)

// Bound keeps files short that a machine writes to, until the machine is done.
func Bound(done <-chan struct{}, paths ...string) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			for _, path := range paths {
				bound(path)
			}
		}
	}
}

// bound goes by the room that a file takes: after it was cut, one that is not
// written to its end has a hole at its beginning.
func bound(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Blocks*512 > longest {
		_ = os.Truncate(path, 0) // tried again in a moment
	}
}

// LastLine is the last line of a log as the end of an error's text.
func LastLine(path string) string {
	said, err := lines.End(path, lastBytes)
	if err != nil || len(said) == 0 {
		return ""
	}
	return ": " + said[len(said)-1]
}

// WithConsole adds the end of a machine's console to an error. The reason of the
// machine's end has it already.
func WithConsole(err error, console string) error {
	if errors.Is(err, guest.ErrGone) {
		return err
	}
	return fmt.Errorf("%w%s", err, lines.Tail(console))
}
