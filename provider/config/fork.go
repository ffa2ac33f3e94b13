package config

import (
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Fork says whether workers are forked from a machine that was booted once.
type Fork struct {
	Enabled bool
	// ShareMemory lets the forks of a pool share the pages that none of them
	// has written to.
	ShareMemory bool
	// Spares is how many forks are kept ready but for their identity.
	Spares int
	// Warm are shell commands, run as root, in order, in that machine before it is
	// saved. Warmth has those of the image's preset as well.
	Warm []string
}

// maxSpares is more than any host starts at once.
const maxSpares = 100

func forkSection(c *Config) section {
	f := &c.Fork
	return section{name: "fork", together: c.checkFork, keys: []key{
		{name: "enabled", value: boolean(&f.Enabled), fallback: `true`,
			about: "workers are forked from a machine that is booted once, and the first ones wait for it; else " +
				"every worker boots"},
		{name: "share_memory", value: boolean(&f.ShareMemory), fallback: `true`,
			about: "the forks of a pool share the pages that none of them has written to. `false`: each has a copy " +
				"from the start"},
		{name: "spares", value: whole(&f.Spares, between(0, maxSpares)), fallback: `0`,
			about: "forks that are kept ready but for their identity, restored and not running, while no worker is " +
				"on its way up. They count in no limit, and take the place of no worker. By emulation they bring " +
				"nothing that shows for one worker at a time ([figures](../performance.md))",
			refused: "negative; above 100"},
		{name: "warm", value: list(&f.Warm, parseCommand), example: `["systemctl start postgresql"]`,
			about: "shell commands, run as root, in order, in the machine that workers are forked from, before it is " +
				"saved: what they start runs in every fork from the first moment. A worker that boots, and a container, " +
				"runs them itself before it is ready ([guide](../guides/warm.md))",
			refused: "as for `image.run`; with the backends \"tart\" and \"bhyve\""},
	}}
}

// checkFork refuses steps that nobody would run.
func (c *Config) checkFork(r *reading) {
	if c.entersBySSH() && r.gave("fork.warm") {
		r.refuse("fork.warm", "the backend %q runs no commands when a worker starts: remove it", c.foreign())
	}
}

// entersBySSH says that the backend's guests have no agent of ours.
func (c *Config) entersBySSH() bool {
	return slices.Contains([]string{BackendTart, BackendBhyve}, c.foreign())
}

// Warmth are the commands that make workers warm: first the preset's.
func (c Config) Warmth() []image.Commands {
	return []image.Commands{
		{Setting: "image.preset", Shell: c.preset().Warm}, {Setting: "fork.warm", Shell: c.Fork.Warm},
	}
}

// Warm says that there are such commands.
func (c Config) Warm() bool { return len(c.preset().Warm)+len(c.Fork.Warm) > 0 }
