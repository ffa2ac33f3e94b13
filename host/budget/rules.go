package budget

import (
	"errors"
	"fmt"
	"math"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// Limits are what a host gives away to all of its workers together.
type Limits struct {
	// Memory is in bytes.
	Memory int64
	// CPUs is the number of virtual processors; 0 sets no limit.
	CPUs int
}

// Host is what a host has, and how its owner wants it to be given away.
type Host struct {
	// Memory is what this process may take at most, in bytes.
	Memory int64
	// Reserve is what of it is not given away, in bytes; 0 is a default.
	Reserve int64
	// MemoryOvercommit is how much is promised for each byte that is left.
	MemoryOvercommit float64
	// CPUs are the host's processors, CPUOvercommit how many virtual ones are promised
	// for each; 0 sets no limit.
	CPUs          int
	CPUOvercommit float64
}

// What is not given away of a host whose configuration does not say: the larger of
// both. It is for the system, the plugin and the runner, for what images and
// templates are made with, and for the page cache.
const (
	leastReserve   = 512 << 20
	reserveDivisor = 20
)

// Limits is what the host gives away.
func (h Host) Limits() Limits {
	reserve := h.Reserve
	if reserve == 0 {
		reserve = max(leastReserve, h.Memory/reserveDivisor)
	}
	memory := float64(max(0, h.Memory-reserve)) * h.MemoryOvercommit
	limits := Limits{Memory: math.MaxInt64 / 2}
	if memory < math.MaxInt64/2 {
		limits.Memory = int64(memory)
	}
	if h.CPUOvercommit > 0 { // 0 would be no limit
		limits.CPUs = max(1, int(float64(h.CPUs)*h.CPUOvercommit))
	}
	return limits
}

// Never is why a cost does not fit even on a host on which there is nothing else.
func (l Limits) Never(cost pool.Cost) error {
	var errs []error
	if cost.Memory > l.Memory {
		errs = append(errs, fmt.Errorf("a worker takes %s of memory, and this host gives away %s in all: "+
			"set machine.memory or host.reserve_memory to less or host.memory_overcommit to more, "+
			"or let this process's control group have more memory",
			size(cost.Memory), size(l.Memory)))
	}
	if l.CPUs > 0 && cost.CPUs > l.CPUs {
		errs = append(errs, fmt.Errorf("a worker takes %d processors, and this host gives away %d in all: "+
			"set machine.cpus to less, or host.cpu_overcommit to more", cost.CPUs, l.CPUs))
	}
	return errors.Join(errs...)
}

// lack is why a worker may not start now: a kind, which stays the same while the
// numbers change, and the reason in words. There is none when it may start.
type lack struct{ kind, reason string }

// covered is the kind of no lack at all: the worker holds enough already.
const covered = "covered"

// lacks says what a worker lacks, were it the first in the queue.
func (o Options) lacks(held map[string]page, id string, cost pool.Cost) lack {
	if now, holds := held[id]; holds && now.Memory >= cost.Memory && now.CPUs >= cost.CPUs {
		return lack{kind: covered}
	}
	var sum pool.Cost
	workers := 0
	for holder, c := range held {
		if holder != id && (c.Memory > 0 || c.CPUs > 0) {
			workers++
			sum.Memory += c.Memory
			sum.CPUs += c.CPUs
		}
	}
	switch {
	case cost.Memory > 0 && cost.Memory > o.Limits.Memory-sum.Memory:
		return lack{"memory", fmt.Sprintf("waiting for memory of the host: the worker takes %s, and %d workers hold "+
			"%s of %s", size(cost.Memory), workers, size(sum.Memory), size(o.Limits.Memory))}
	case o.Limits.CPUs > 0 && cost.CPUs > 0 && cost.CPUs > o.Limits.CPUs-sum.CPUs:
		return lack{"processors", fmt.Sprintf("waiting for processors of the host: the worker takes %d, and %d workers "+
			"hold %d of %d", cost.CPUs, workers, sum.CPUs, o.Limits.CPUs)}
	}
	return o.closed()
}

// closed is what everybody lacks while a gate is closed.
func (o Options) closed() lack {
	for _, gate := range o.Gates {
		if reason := gate.Closed(); reason != "" {
			return lack{gate.Name, "waiting for the host: " + reason}
		}
	}
	return lack{}
}

// grown is what workers hold from now on that take more memory than they hold. One
// that holds none is suspended, or not ours.
func grown(held map[string]page, memory map[string]int64) map[string]pool.Cost {
	more := make(map[string]pool.Cost)
	for id, bytes := range memory {
		if now := held[id].Cost; now.Memory > 0 && now.Memory < bytes {
			now.Memory = bytes
			more[id] = now
		}
	}
	return more
}

// lowered is a cost in place of what a worker holds, which gets no more memory and
// processors by that.
func (p page) lowered(cost pool.Cost) pool.Cost {
	cost.Memory, cost.CPUs = min(p.Memory, cost.Memory), min(p.CPUs, cost.CPUs)
	return cost
}

// behind is the lack of a worker that others are before. What it lacks itself
// says less than that.
func behind(own lack) lack {
	reason := "waiting for the host behind other workers, which came first and do not fit yet"
	if own.kind != "" {
		reason += " (" + own.reason + ")"
	}
	return lack{"turn", reason}
}

func size(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
