package config

import "fmt"

// Host says how much of this host the pool may take.
type Host struct {
	// MaxWorkers of 0 stands for as many as the subnet holds.
	MaxWorkers int
	// ConcurrentStarts is how many workers may be on their way up at once.
	ConcurrentStarts int
}

func hostSection(c *Config) section {
	h := &c.Host
	return section{
		name: "host",
		keys: []key{
			{
				name: "max_workers", value: whole(&h.MaxWorkers, checkMaxWorkers), fallback: `0`, example: `20`,
				about: "the most workers of this pool, those being deleted included; 0 is as many as the subnet holds. " +
					"The runner's `max_instances` must not be above it",
				refused: "negative; more than the subnet holds",
			},
			{
				name: "concurrent_starts", value: whole(&h.ConcurrentStarts, checkConcurrentStarts), fallback: `4`,
				about: "how many workers may be on their way up at once; the others wait", refused: "below 1",
			},
		},
		together: func(r *reading) {
			if capacity := c.Capacity(); h.MaxWorkers > capacity && !r.wrong("host.max_workers", "network.subnet") {
				r.add(r.path("host.max_workers"), "%d is more than the %d workers that the subnet %s holds: "+
					"write a smaller number or a larger subnet", h.MaxWorkers, capacity, c.Network.Subnet)
			}
		},
	}
}

func checkMaxWorkers(n int64) error {
	if n < 0 {
		return fmt.Errorf("%d is negative: write a number, or 0 for as many as the subnet holds", n)
	}
	return nil
}

func checkConcurrentStarts(n int64) error {
	if n < 1 {
		return fmt.Errorf("%d would start no worker: write at least 1", n)
	}
	return nil
}
