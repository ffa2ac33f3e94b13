package config

import "fmt"

func (r rawHost) parse(m *Errors, to *Host) {
	set(m, r.maxWorkers, &to.MaxWorkers, parseMaxWorkers)
	set(m, r.concurrentStarts, &to.ConcurrentStarts, parseConcurrentStarts)
}

func parseMaxWorkers(n int64) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d is negative: write a number, or 0 for as many as the subnet holds", n)
	}
	return int(n), nil
}

func parseConcurrentStarts(n int64) (int, error) {
	if n < 1 {
		return 0, fmt.Errorf("%d would start no worker: write at least 1", n)
	}
	return int(n), nil
}

// checkCapacity refuses to promise workers that could have no address.
func (r raw) checkCapacity(m *Errors, c Config) {
	if m.has(r.host.maxWorkers.path) || m.has(r.network.subnet.path) {
		return
	}
	if capacity := c.Capacity(); c.Host.MaxWorkers > capacity {
		m.add(r.host.maxWorkers.path, "%d is more than the %d workers that the subnet %s holds: "+
			"write a smaller number or a larger subnet", c.Host.MaxWorkers, capacity, c.Network.Subnet)
	}
}
