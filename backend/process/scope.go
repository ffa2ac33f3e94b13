//go:build linux

package process

import (
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Slice is the systemd slice of all machines.
const Slice = "mayfly.slice"

// Systemd says whether systemd runs this host, see sd_booted(3).
func Systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// description of a scope; systemd's own is the whole command line.
const description = "--description=a machine of Mayfly"

// InScope returns the command that runs c in a systemd scope of its own, when
// systemd runs this host; otherwise c itself. A service manager's signal to
// the runner's control group, as it is sent when the runner is told to drain,
// then does not reach the machines whose jobs it drains. The properties are the
// scope's, see systemd.resource-control(5).
func InScope(c Command, unit string, properties ...string) Command {
	if !Systemd() {
		return c
	}
	systemdRun, err := programs.Find("systemd-run")
	if err != nil {
		return c
	}
	return scoped(c, systemdRun, unit, properties...)
}

// scoped is InScope without its look at the host. systemd-run --scope becomes
// the command by exec: its pid, descriptors and namespaces stay.
func scoped(c Command, systemdRun, unit string, properties ...string) Command {
	options := []string{"--scope", "--quiet", "--collect", "--slice=" + Slice, "--unit=" + unit, description}
	for _, property := range properties {
		options = append(options, "--property="+property)
	}
	options = append(options, "--", c.Path)
	c.Path, c.Arguments = systemdRun, append(options, c.Arguments...)
	return c
}
