//go:build linux

package island

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesLeadBackToTheirWorkers(t *testing.T) {
	n := newNaming("ci-linux", "/var/lib/mayfly/pools/ci-linux")
	name, err := n.name("ci-linux-abc234xy")
	require.NoError(t, err)
	require.Equal(t, "mfvrvvlabc234xy", name)
	require.Len(t, name, 15, "the kernel's limit for an interface name")

	worker, ok := n.worker(name)
	require.True(t, ok)
	require.Equal(t, "ci-linux-abc234xy", worker)
	worker, ok = n.workerOf(n.owner(worker))
	require.True(t, ok)
	require.Equal(t, "ci-linux-abc234xy", worker)
}

func TestNamesOfOthersAreNotOurs(t *testing.T) {
	n := newNaming("ci", "/var/lib/mayfly/pools/ci")
	other := newNaming("ci", "/srv/mayfly/pools/ci")
	foreign, err := other.name("ci-aaaaaaaa")
	require.NoError(t, err)
	for _, name := range []string{"", "eth0", foreign, "mf" + n.scope + "short", "mf" + n.scope + "AAAAAAAA"} {
		_, ok := n.worker(name)
		require.False(t, ok, name)
	}
	for _, owner := range []string{"", "ci", "other/ci-aaaaaaaa", "ci/other-aaaaaaaa", "ci/ci-1"} {
		_, ok := n.workerOf(owner)
		require.False(t, ok, owner)
	}
	for _, worker := range []string{"", "ci-", "ci-aaaaaaa", "ci-aaaaaaaa1", "ci-aaaaaaa8", "other-aaaaaaaa"} {
		_, err := n.name(worker)
		require.Error(t, err, worker)
	}
}
