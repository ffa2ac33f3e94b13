package tart

import (
	"fmt"
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
)

// size is what a worker gets: what was asked for, or its share of the host.
func (b *Backend) size(asked backend.Size) (backend.Size, error) {
	if b.options.AutoCPU {
		asked.CPUs = cpuShare(runtime.NumCPU(), b.workers())
	}
	if b.options.AutoMemory {
		total, err := hostmemory.Total()
		if err != nil {
			return asked, fmt.Errorf("tart.memory \"auto\": %w", err)
		}
		asked.Memory = memoryShare(total, b.workers())
	}
	return asked, nil
}

// workers is how many share the host.
func (b *Backend) workers() int {
	if b.options.MaxWorkers > 0 {
		return b.options.MaxWorkers
	}
	return macGuests
}

func cpuShare(total, workers int) int { return max(total/workers, 1) }

// memoryShare leaves the host an eighth, and gives whole mebibytes.
func memoryShare(total int64, workers int) int64 {
	return total / 8 * 7 / int64(workers) >> 20 << 20
}
