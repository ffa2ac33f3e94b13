//go:build linux

package cgroup

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzParse(f *testing.F) {
	f.Add("26 23 0:24 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("27 23 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids,hugetlb\n28 - - -\n - cgroup x y\n")
	f.Add("29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,memory,cpuset\n")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		for _, h := range parse(mountinfo) {
			require.NotEmpty(t, h.Dir)
			require.NotContains(t, h.Dir, " ")
			for _, controller := range h.Controllers {
				require.True(t, slices.Contains(limiting, controller), "%q is not a limit of ours", controller)
			}
			require.False(t, h.Unified && len(h.Controllers) > 0, "a mount of version 2 does not tell its controllers")
		}
	})
}
