package host

import (
	"fmt"
	"log/slog"
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// scarceDivisor makes of all memory what counts as little: a tenth.
const scarceDivisor = 10

// budgetOf is what the pool's workers share with those of all other pools of the
// state directory. Gates hold back starts besides the kernel's word on memory.
func budgetOf(c config.Config, gates ...budget.Gate) (*budget.Budget, error) {
	total, err := hostmemory.Total()
	if err != nil {
		return nil, err
	}
	return budget.New(budget.Options{
		Dir: c.BudgetDir(), Pool: c.Pool, Limits: limitsOf(c, total),
		Gates: append(gates, budget.Pressure(total/scarceDivisor)...),
	}), nil
}

// Share is what workers of all pools share of the host, and what they hold of it now.
type Share struct {
	Limits budget.Limits
	// Held is what each worker holds.
	Held map[string]pool.Cost
	// Closed says why nothing may start now, whatever fits; empty when it may.
	Closed string
}

// Share looks at what is shared, and changes nothing.
func (h *Host) Share(c config.Config) (Share, error) {
	b, err := budgetOf(c, h.diskOf(c, slog.New(slog.DiscardHandler)).gate())
	if err != nil {
		return Share{}, err
	}
	held, err := b.Held()
	return Share{Limits: b.Limits(), Held: held, Closed: b.Closed()}, err
}

// SharedMemory is how many bytes of this host's memory workers of all pools share, by the
// configuration of one of them; 0 when the host does not tell.
func (h *Host) SharedMemory(c config.Config) int64 {
	total, err := hostmemory.Total()
	if err != nil {
		return 0
	}
	return limitsOf(c, total).Memory
}

// limitsOf is what the host gives away to workers. Total is all of its memory, in
// bytes.
func limitsOf(c config.Config, total int64) budget.Limits {
	return budget.Host{
		Memory: total, Reserve: c.Host.ReserveMemory, MemoryOvercommit: c.Host.MemoryOvercommit,
		CPUs: runtime.NumCPU(), CPUOvercommit: c.Host.CPUOvercommit,
	}.Limits()
}

// costOf is what a worker takes at most that the backend makes.
func costOf(c config.Config, b backend.Backend) pool.Cost {
	size := backend.CostOf(b, backend.Size{CPUs: c.Machine.CPUs, Memory: c.Machine.Memory})
	return pool.Cost{Memory: size.Memory, CPUs: size.CPUs, Disk: c.Machine.Disk}
}

// checkBudget says how many of the pool's workers fit on the host, and what
// workers of all pools hold now.
func checkBudget(limits budget.Limits, cost pool.Cost, most int, held map[string]pool.Cost) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "memory"}
	var sum pool.Cost
	for _, c := range held {
		sum.Memory += c.Memory
		sum.CPUs += c.CPUs
		sum.Disk += c.Disk
	}
	finding.Detail = fmt.Sprintf("workers of all pools share %.1f GiB", inGiB(limits.Memory))
	if limits.CPUs > 0 {
		finding.Detail += fmt.Sprintf(" and %d processors", limits.CPUs)
	}
	finding.Detail += fmt.Sprintf("; %d hold %.1f GiB and %d processors now, and may write %.1f GiB",
		len(held), inGiB(sum.Memory), sum.CPUs, inGiB(sum.Disk))
	if err := limits.Never(cost); err != nil {
		finding.Level, finding.Mend = doctor.Missing, err.Error()
		return finding
	}
	if cost.Memory == 0 {
		return finding
	}
	fit := limits.Memory / cost.Memory
	if limits.CPUs > 0 {
		fit = min(fit, int64(limits.CPUs/cost.CPUs))
	}
	finding.Detail += fmt.Sprintf("; there is room for %d workers of this pool that use all of their %.1f GiB",
		fit, inGiB(cost.Memory))
	if int64(most) > fit {
		finding.Level = doctor.Warning
		finding.Mend = fmt.Sprintf("set plugin_config.host.max_workers (%d) or machine.memory to less, "+
			"or expect that workers wait for others to end", most)
	}
	return finding
}
