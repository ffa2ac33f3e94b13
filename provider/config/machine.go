package config

import (
	"fmt"
	"time"
)

// Machine says what one worker gets.
type Machine struct {
	CPUs int
	// Memory and Disk are in bytes, always whole mebibytes.
	Memory int64
	Disk   int64
	// StartTimeout is how long a worker may take to become ready before it
	// counts as failed. The runner has no such limit of its own.
	StartTimeout time.Duration
}

// The least that a machine needs to boot a distribution and log in. The most
// CPUs are what QEMU's machine takes without further settings.
const (
	minMemory       = 256 * mib
	minDisk         = 2 * gib
	maxCPUs         = 256
	minStartTimeout = time.Second
)

func machineSection(c *Config) section {
	m := &c.Machine
	return section{name: "machine", keys: []key{
		{name: "cpus", value: whole(&m.CPUs, between(1, maxCPUs)), fallback: `2`,
			about: "virtual processors of each worker", refused: "below 1, above 256"},
		{name: "memory", value: size(&m.Memory, minMemory), fallback: `"2GiB"`,
			about: "memory of each worker. One that does not fit beside the others on the host waits until it does, " +
				"whichever pool they are of: [what workers share](../guides/host.md)",
			refused: "below 256MiB"},
		{name: "disk", value: size(&m.Disk, minDisk), fallback: `"10GiB"`,
			about: "size of each worker's disk, a container's too; only what is written takes room. At least as big as " +
				"the cloud image's, which is checked when the image is built",
			refused: "below 2GiB"},
		{name: "start_timeout", value: text(&m.StartTimeout, parseStartTimeout), fallback: `"10m"`, kind: "duration",
			about: "a worker that is not ready by then is destroyed. Waiting for the image, for the template, for " +
				"room on the host or for a start slot does not count; one for which there is no room on the host for " +
				"as long as this fails too",
			refused: "below 1s"},
	}}
}

func parseStartTimeout(text string) (time.Duration, error) {
	timeout, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a valid duration: write a number with a unit, for instance \"10m\"", text)
	}
	if timeout < minStartTimeout {
		return 0, fmt.Errorf("%q is too short: write at least %q", text, minStartTimeout)
	}
	return timeout, nil
}
