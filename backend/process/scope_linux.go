package process

import (
	"os"
	"os/exec"
)

// InScope returns the command that runs c in a systemd scope of its own, when
// systemd runs this host; otherwise c itself. A service manager's signal to
// the runner's control group, as it is sent when the runner is told to drain,
// then does not reach the machines whose jobs it drains.
func InScope(c Command, unit string) Command {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return c
	}
	systemdRun, err := exec.LookPath("systemd-run")
	if err != nil {
		return c
	}
	return scoped(c, systemdRun, unit)
}

// scoped is InScope without its look at the host. systemd-run --scope becomes
// the command by exec: its pid, descriptors and namespaces stay.
func scoped(c Command, systemdRun, unit string) Command {
	options := []string{"--scope", "--quiet", "--collect", "--slice=mayfly.slice", "--unit=" + unit, "--", c.Path}
	c.Path, c.Arguments = systemdRun, append(options, c.Arguments...)
	return c
}
