package config

import (
	"fmt"
	"time"
)

// The least that a machine needs to boot a distribution and log in. The most
// CPUs are what QEMU's machine takes without further settings.
const (
	minMemory       = 256 * mib
	minDisk         = 2 * gib
	maxCPUs         = 256
	minStartTimeout = time.Second
)

func (r rawMachine) parse(m *Errors, to *Machine) {
	set(m, r.cpus, &to.CPUs, parseCPUs)
	set(m, r.memory, &to.Memory, sizeFrom(minMemory))
	set(m, r.disk, &to.Disk, sizeFrom(minDisk))
	set(m, r.startTimeout, &to.StartTimeout, parseStartTimeout)
}

func parseCPUs(n int64) (int, error) {
	if n < 1 || n > maxCPUs {
		return 0, fmt.Errorf("%d is out of range: write a number from 1 to %d", n, maxCPUs)
	}
	return int(n), nil
}

func parseStartTimeout(text string) (time.Duration, error) {
	timeout, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: write a number with a unit, for instance \"10m\"", text)
	}
	if timeout < minStartTimeout {
		return 0, fmt.Errorf("%q is too short: write at least %q", text, minStartTimeout)
	}
	return timeout, nil
}
