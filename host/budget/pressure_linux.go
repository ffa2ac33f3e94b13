package budget

import (
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
)

// The pressure on memory from which on nothing starts, in percent of ten seconds in
// which some work, or all of it at once, waited for memory. A host that has
// enough stays below one.
const (
	mostSome = 20
	mostFull = 5
)

// Pressure is the gate that closes when work waits for memory and less than
// scarce bytes are left of it. Either alone says little: a worker that is at its
// own limit raises the pressure of the whole host, and a host whose memory is
// promised and used need not work hard for it.
func Pressure(scarce int64) []Gate {
	return []Gate{pressure(scarce, hostmemory.Pressures, hostmemory.Available)}
}

// pressure is the gate by what the host reads of its memory.
func pressure(
	scarce int64, pressures func() ([]hostmemory.Pressure, error), available func() (int64, error),
) Gate {
	return Gate{Name: "pressure", Closed: func() string {
		now, err := pressures()
		if err != nil {
			return "" // a kernel that cannot say does not keep workers from starting
		}
		left, err := available()
		if err != nil {
			return ""
		}
		return strained(now, left, scarce)
	}}
}

// strained says why the host's memory bears no new worker, if it does not.
func strained(pressures []hostmemory.Pressure, left, scarce int64) string {
	if left >= scarce {
		return ""
	}
	for _, p := range pressures {
		if p.Some > mostSome || p.Full > mostFull {
			return fmt.Sprintf("work on it waits for memory (%.0f %% of the last ten seconds, all at once %.0f %%), "+
				"and %s are left", p.Some, p.Full, size(left))
		}
	}
	return ""
}
