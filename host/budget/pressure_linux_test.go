package budget

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
)

func TestPressureStopsStartsWhenLittleIsLeft(t *testing.T) {
	some, full := hostmemory.Pressure{Some: 21}, hostmemory.Pressure{Full: 6}
	require.Empty(t, strained([]hostmemory.Pressure{{Some: 20, Full: 5}}, 0, gib), "as much as may be")
	require.Empty(t, strained([]hostmemory.Pressure{some, full}, gib, gib), "a worker at its own limit")
	require.Empty(t, strained(nil, 0, gib), "a kernel that does not say")
	require.Equal(t, "work on it waits for memory (21 % of the last ten seconds, all at once 0 %), and 0.5 GiB are left",
		strained([]hostmemory.Pressure{{}, some}, gib/2, gib))
	require.NotEmpty(t, strained([]hostmemory.Pressure{full}, 0, gib))
}

func TestGateOfPressureIsClosedByWhatTheHostReads(t *testing.T) {
	pressures := []hostmemory.Pressure{{Some: 21}}
	var unknown, unknownLeft error
	gate := pressure(gib, func() ([]hostmemory.Pressure, error) { return pressures, unknown },
		func() (int64, error) { return gib / 2, unknownLeft })
	require.Contains(t, gate.Closed(), "0.5 GiB are left")
	unknown = errors.New("no such file")
	require.Empty(t, gate.Closed())
	unknown, unknownLeft = nil, unknown
	require.Empty(t, gate.Closed())
	unknownLeft, pressures[0].Some = nil, 20
	require.Empty(t, gate.Closed())
}
