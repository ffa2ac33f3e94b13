//go:build linux

package cgroup

import "testing"

func FuzzParse(f *testing.F) {
	f.Add("26 23 0:24 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("27 23 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n28 - - -\n - cgroup x y\n")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		for _, h := range parse(mountinfo) {
			if h.Dir == "" {
				t.Errorf("parse(%q) has a hierarchy without a place", mountinfo)
			}
		}
	})
}
