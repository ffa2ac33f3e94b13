package config

// Synthetic says what is special to workers that are only played.
type Synthetic struct {
	// Reserve has them hold of the host's budget what machines would.
	Reserve bool
}

func syntheticSection(c *Config) section {
	return section{name: "synthetic", about: `For the backend "synthetic".`, keys: []key{
		{name: "reserve", value: boolean(&c.Synthetic.Reserve), fallback: `false`,
			about: "each worker holds `machine.memory` and `machine.cpus` of what workers share of the host, as if " +
				"it took them: for trying out how pools share a host"},
	}}
}
