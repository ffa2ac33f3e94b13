//go:build linux

package nspawn

import (
	"errors"
	"fmt"
	"os/exec"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// rebooted is the exit code of systemd-nspawn with --keep-unit for a container that
// has rebooted. It leaves the start to a service manager.
const rebooted = 133

// watch notes the reason of the container's end while its control group is still
// there, which may be a moment only where systemd removes it.
func (m *machine) watch(units process.Units, memory int64) {
	<-m.process.Done()
	m.end = explainEnd(m.process.Err(), units.MemoryKills(m.id), memory, m.console)
	close(m.closed)
}

// explainEnd tells what has ended a container from how its supervisor ended, and
// from how many processes the kernel killed because the container had reached its
// memory limit, in bytes. One that ends in order was not ended by that: a job may have
// lost a process long before.
func explainEnd(err error, kills int, memory int64, console string) error {
	words := ""
	var exit *exec.ExitError
	switch {
	case errors.Is(err, process.ErrSucceeded):
		words = "the guest powered itself off"
	case errors.As(err, &exit) && exit.ExitCode() == rebooted:
		words = "the guest rebooted"
	case kills > 0:
		words = fmt.Sprintf("out of its memory limit of %d MiB: the kernel killed %d of its processes",
			memory>>20, kills)
	default:
		return fmt.Errorf("%w: systemd-nspawn %w%s", guest.ErrGone, err, lines.Tail(console))
	}
	return guest.Fault(fmt.Errorf("%w: %s%s", guest.ErrGone, words, lines.Tail(console)))
}
