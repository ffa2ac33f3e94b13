package budget

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatAHostGivesAway(t *testing.T) {
	cases := map[string]struct {
		host Host
		want Limits
	}{
		"a small host keeps half a GiB":         {Host{Memory: 4 * gib, MemoryOvercommit: 1}, Limits{Memory: 4*gib - gib/2}},
		"a large one keeps a twentieth":         {Host{Memory: 100 * gib, MemoryOvercommit: 1}, Limits{Memory: 95 * gib}},
		"as its owner says":                     {Host{Memory: 8 * gib, Reserve: gib, MemoryOvercommit: 1}, Limits{Memory: 7 * gib}},
		"more than there is":                    {Host{Memory: 8 * gib, Reserve: 4 * gib, MemoryOvercommit: 1.5}, Limits{Memory: 6 * gib}},
		"nothing, when it keeps more than all":  {Host{Memory: gib, Reserve: 2 * gib, MemoryOvercommit: 1}, Limits{}},
		"processors":                            {Host{CPUs: 3, CPUOvercommit: 1.5}, Limits{CPUs: 4}},
		"one processor at least, where limited": {Host{CPUs: 2, CPUOvercommit: 0.1}, Limits{CPUs: 1}},
		"so much that it means no limit":        {Host{Memory: 1 << 62, MemoryOvercommit: 1000}, Limits{Memory: 1<<62 - 1}},
	}
	for name, c := range cases {
		require.Equal(t, c.want, c.host.Limits(), name)
	}
}
