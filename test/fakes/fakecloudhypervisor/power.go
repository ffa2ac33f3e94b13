//go:build linux

package fakecloudhypervisor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// refusePower fails when the program could do more than what it is for: the real
// one would run, and leave an escape from it more than an empty room.
func refusePower() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("asking for capabilities: %w", err)
	}
	noNew, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	switch {
	case err != nil:
		return fmt.Errorf("asking about new privileges: %w", err)
	case unix.Geteuid() == 0:
		return errors.New("it runs as root")
	case sets[0].Effective|sets[1].Effective|sets[0].Permitted|sets[1].Permitted != 0:
		return errors.New("it runs with capabilities")
	case noNew != 1:
		return errors.New("it could get new privileges")
	}
	return nil
}
