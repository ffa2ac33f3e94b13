package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

func TestMissing(t *testing.T) {
	none := func(programs.Program) bool { return false }
	run, err := missing([]string{"run"}, "amd64", none)
	require.NoError(t, err)
	require.Contains(t, run, "qemu-system-x86")
	require.Contains(t, run, "busybox-static")
	require.NotContains(t, run, "xorriso")
	require.NotContains(t, run, "coreutils", "every Debian has it")
	all, err := missing([]string{"run", "test"}, "arm64", none)
	require.NoError(t, err)
	require.Subset(t, all, []string{"qemu-system-arm", "mmdebstrap", "xorriso", "libc6-dev"})
	require.NotContains(t, all, "qemu-system-x86")
	require.NotContains(t, all, "grub-pc-bin")
	seen := map[string]int{}
	for _, name := range all {
		seen[name]++
	}
	require.Equal(t, 1, seen["iptables"], "four programs are in it")

	one, err := missing([]string{"mmdebstrap"}, "amd64", none)
	require.NoError(t, err)
	require.Equal(t, []string{"mmdebstrap"}, one)
	other, err := missing([]string{"qemu-img", "qemu-io"}, "amd64", func(p programs.Program) bool { return p.Name == "qemu-img" })
	require.NoError(t, err)
	require.Equal(t, []string{"qemu-utils"}, other)
	for _, wrong := range []string{"", "tset", "go"} {
		_, err = missing([]string{wrong}, "amd64", none)
		require.Error(t, err, wrong)
	}
}
