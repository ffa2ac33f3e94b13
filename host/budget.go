package host

import (
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// scarceDivisor makes of all memory what counts as little: a tenth.
const scarceDivisor = 10

// budgetOf is what the pool's workers share with those of all other pools of the
// state directory.
func budgetOf(c config.Config) (*budget.Budget, error) {
	total, err := hostmemory.Total()
	if err != nil {
		return nil, err
	}
	return budget.New(budget.Options{
		Dir: c.BudgetDir(), Pool: c.Pool, Limits: limitsOf(c, total),
		Gates: budget.Pressure(total / scarceDivisor),
	}), nil
}

// limitsOf is what the host gives away to workers. Total is all of its memory, in
// bytes.
func limitsOf(c config.Config, total int64) budget.Limits {
	return budget.Host{
		Memory: total, Reserve: c.Host.ReserveMemory, MemoryOvercommit: c.Host.MemoryOvercommit,
		CPUs: runtime.NumCPU(), CPUOvercommit: c.Host.CPUOvercommit,
	}.Limits()
}
