package hostmemory

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const hybridMounts = `30 29 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
37 29 8:1 / / rw - ext4 /dev/sda1 rw
broken
`

func TestGroupsOfAProcess(t *testing.T) {
	cases := map[string]struct {
		mounts, groups string
		want           []string
	}{
		"version 2": {
			"30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/system.slice/runner.service\n",
			[]string{"/sys/fs/cgroup/system.slice/runner.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"},
		},
		"both versions": {
			hybridMounts, "4:memory:/a\n1:cpu:/b\n0::/\n",
			[]string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"},
		},
		"in a container that sees its own group as the root": {
			"31 29 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", "4:memory:/docker/x\n",
			[]string{"/sys/fs/cgroup/memory"},
		},
		"in a group below that": {
			"31 29 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", "4:memory:/docker/x/y\n",
			[]string{"/sys/fs/cgroup/memory/y", "/sys/fs/cgroup/memory"},
		},
		"mounted from elsewhere": {
			"31 29 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", "4:memory:/other\n",
			[]string{"/sys/fs/cgroup/memory"},
		},
		"none": {"37 29 8:1 / / rw - ext4 /dev/sda1 rw", "", nil},
	}
	for name, c := range cases {
		require.Equal(t, c.want, groupDirs(c.mounts, c.groups), name)
	}
}

func TestLimits(t *testing.T) {
	bytes, limited, err := parseLimit("8589934592\n")
	require.NoError(t, err)
	require.True(t, limited)
	require.EqualValues(t, 8<<30, bytes)
	_, limited, err = parseLimit("max\n")
	require.NoError(t, err)
	require.False(t, limited)
	for _, text := range []string{"", "-1", "8GiB", "99999999999999999999"} {
		_, _, err = parseLimit(text)
		require.ErrorContains(t, err, "is not a number of bytes", text)
	}
}

func TestPressure(t *testing.T) {
	p, err := parsePressure("some avg10=12.50 avg60=1.00 avg300=0.00 total=7\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n")
	require.NoError(t, err)
	require.Equal(t, Pressure{Some: 12.5, Full: 3}, p)
	for _, text := range []string{"", "some\n", "some avg10=x\n", "some avg10=NaN", "some avg10=101", "full avg10=-1"} {
		_, err := parsePressure(text)
		require.Error(t, err, text)
	}
}

func TestTable(t *testing.T) {
	const text = "MemTotal:  24 kB\nMemAvailable:   12345 kB\ncache 7\nbad x\n"
	for name, want := range map[string]int64{"MemAvailable": 12345, "cache": 7} {
		n, ok := parseTable(text, name)
		require.True(t, ok)
		require.Equal(t, want, n)
	}
	for _, name := range []string{"Mem", "bad", ""} {
		_, ok := parseTable(text, name)
		require.False(t, ok, name)
	}
}

func FuzzPressure(f *testing.F) {
	f.Add("some avg10=12.50 avg60=1.00 avg300=0.00 total=7\nfull avg10=3.00 avg60=0 avg300=0 total=1\n")
	f.Add("some avg10=NaN")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePressure(text)
		if err != nil {
			return
		}
		for _, percent := range []float64{p.Some, p.Full} {
			require.True(t, percent >= 0 && percent <= 100)
		}
	})
}

func FuzzGroups(f *testing.F) {
	f.Add(hybridMounts, "4:memory:/a\n0::/b/../..\n")
	f.Add("1 2 3 / / rw - cgroup2 x rw", "0::relative")
	f.Fuzz(func(t *testing.T, mounts, groups string) {
		require.LessOrEqual(t, len(groupDirs(mounts, groups)), (len(mounts)+1)*(len(groups)+1), "it ends")
	})
}

func FuzzLimit(f *testing.F) {
	f.Add("8589934592\n")
	f.Add("max")
	f.Fuzz(func(t *testing.T, text string) {
		bytes, _, err := parseLimit(text)
		require.True(t, err != nil || bytes >= 0)
	})
}
