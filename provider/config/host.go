package config

// Host says how much of this host the pool may take.
type Host struct {
	// MaxWorkers of 0 stands for as many as the subnet holds.
	MaxWorkers int
	// ConcurrentStarts is how many workers may be on their way up at once.
	ConcurrentStarts int
	// ReserveMemory is what of the host's memory workers may not take, in bytes; 0 is
	// a share of the host.
	ReserveMemory int64
	// MemoryOvercommit is how much memory is promised for each byte that the host has
	// beside ReserveMemory.
	MemoryOvercommit float64
	// CPUOvercommit is how many virtual processors are promised for each of the host;
	// 0 sets no limit.
	CPUOvercommit float64
	// ReserveDisk is how much of the state directory's file system stays free, in
	// bytes; 0 is a share of the file system.
	ReserveDisk int64
}

// The bounds of what may be promised for each byte or processor. The most leaves
// it to the kernel to say no.
const (
	minOvercommit = 0.1
	maxOvercommit = 1000
)

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
		{name: "reserve_memory", value: size(&h.ReserveMemory, mib), example: `"2GiB"`,
			otherwise: "the larger of 512MiB and 5 % of the host's memory",
			about: "memory that workers of no pool get: it is for the system, GitLab Runner, what images and " +
				"templates are made with, and the page cache. The rest is what [workers of all pools " +
				"share](../guides/host.md)",
			refused: "below 1MiB"},
		{name: "memory_overcommit", value: factor(&h.MemoryOvercommit, minOvercommit, maxOvercommit, ""),
			fallback: `1`, example: `1.5`,
			about: "how much memory workers are promised for each byte that they share. Above 1, the kernel may " +
				"have to kill workers that use all of theirs at once",
			refused: "below 0.1, above 1000"},
		{name: "cpu_overcommit", value: factor(&h.CPUOvercommit, minOvercommit, maxOvercommit, "no limit"),
			fallback: `0`, example: `4`,
			about:   "how many virtual processors workers are promised for each of the host; 0 is no limit",
			refused: "above 0 and below 0.1, above 1000"},
		{name: "reserve_disk", value: size(&h.ReserveDisk, mib), example: `"10GiB"`,
			otherwise: "5 % of the file system, at most 4GiB",
			about: "while less than this is free where `state_dir` is, no worker starts, no image is built and no " +
				"template is made, and [what nobody uses is removed](../guides/disk.md), images included",
			refused: "below 1MiB"},
	}}
}

// checkCapacity refuses to promise workers that could have no address.
func (c *Config) checkCapacity(r *reading) {
	if capacity := c.Capacity(); c.Host.MaxWorkers > capacity && !r.wrong("host.max_workers", "network.subnet") {
		r.refuse("host.max_workers", "%d is more than the %d workers that the subnet %s holds: "+
			"write a smaller number or a larger subnet", c.Host.MaxWorkers, capacity, c.Network.Subnet)
	}
}
