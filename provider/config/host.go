package config

// Host says how much of this host the pool may take.
type Host struct {
	// MaxWorkers of 0 stands for as many as the subnet holds.
	MaxWorkers int
	// ConcurrentStarts is how many workers may be on their way up at once.
	ConcurrentStarts int
}

func hostSection(c *Config) section {
	h := &c.Host
	return section{name: "host", together: c.checkCapacity, keys: []key{
		{name: "max_workers", value: whole(&h.MaxWorkers, atLeast(0,
			"is negative: write a number, or 0 for as many as the subnet holds")),
			fallback: `0`, example: `20`,
			about: "the most workers of this pool, those being deleted included; 0 is as many as the subnet holds. " +
				"The runner's `max_instances` must not be above it",
			refused: "negative; more than the subnet holds"},
		{name: "concurrent_starts", value: whole(&h.ConcurrentStarts, atLeast(1,
			"would start no worker: write at least 1")),
			fallback: `4`,
			about:    "how many workers may be on their way up at once; the others wait", refused: "below 1"},
	}}
}

// checkCapacity refuses to promise workers that could have no address.
func (c *Config) checkCapacity(r *reading) {
	if capacity := c.Capacity(); c.Host.MaxWorkers > capacity && !r.wrong("host.max_workers", "network.subnet") {
		r.refuse("host.max_workers", "%d is more than the %d workers that the subnet %s holds: "+
			"write a smaller number or a larger subnet", c.Host.MaxWorkers, capacity, c.Network.Subnet)
	}
}
