package config

// Nspawn says what is special to containers.
type Nspawn struct {
	// PrivateUsers gives containers a user namespace, in which root is nobody
	// on this host.
	PrivateUsers bool
}

func nspawnSection(c *Config) section {
	return section{name: "nspawn", about: `For the backend "nspawn".`, keys: []key{
		{name: "private_users", value: boolean(&c.Nspawn.PrivateUsers), fallback: `true`,
			about: "root in a container is an unused user on this host. `false`: it is root, held back only by what it " +
				"may not call. The two have different images"},
	}}
}
