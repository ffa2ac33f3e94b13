//go:build linux

package island

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEgressIsThePreferredDefaultRouteOfTheMainTable(t *testing.T) {
	for name, test := range map[string]struct {
		commands []string
		want     string
	}{
		"the only one":                         {nil, "wan0"},
		"one that costs less":                  {[]string{"route del default", "route add default via 203.0.113.1 metric 7", "route add default via 192.0.2.2 metric 5"}, "lan0"},
		"of several ways the first":            {[]string{"route replace default nexthop via 192.0.2.2 nexthop via 203.0.113.1"}, "lan0"},
		"none":                                 {[]string{"route del default"}, ""},
		"more special ones beside it":          {[]string{"route add 192.0.0.0/24 via 192.0.2.2"}, "wan0"},
		"more special ones and no default":     {[]string{"route del default", "route add 0.0.0.0/1 via 192.0.2.2"}, ""},
		"another table for what is not marked": {[]string{"route add default via 192.0.2.2 table 77", "rule add pref 100 table 77"}, "wan0"},
	} {
		t.Run(name, func(t *testing.T) {
			newInternet(t)
			newNeighbour(t, "office", "lan0", "192.0.2.1", "192.0.2.2")
			t.Cleanup(func() { exec.Command("ip", "rule", "del", "pref", "100").Run() })
			for _, command := range test.commands {
				out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
				require.NoError(t, err, string(out))
			}
			island, err := New(testOptions(t, "p"))
			require.NoError(t, err)
			exit, err := island.egress()
			require.NoError(t, err)
			require.Equal(t, test.want, exit.name)
		})
	}
}
