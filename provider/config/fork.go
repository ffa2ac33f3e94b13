package config

// Fork says whether workers are forked from a machine that was booted once.
type Fork struct {
	Enabled bool
	// ShareMemory lets the forks of a pool share the pages that none of them
	// has written to.
	ShareMemory bool
	// Spares is how many forks are kept ready but for their identity.
	Spares int
}

// maxSpares is more than any host starts at once.
const maxSpares = 100

func forkSection(c *Config) section {
	f := &c.Fork
	return section{name: "fork", keys: []key{
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
	}}
}
