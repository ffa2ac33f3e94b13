//go:build linux

package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestChecksLeaveNothing looks for groups that this process has made.
func TestChecksLeaveNothing(t *testing.T) {
	need.Root(t)
	require.Equal(t, doctor.OK, CheckConfinement(t.Context()).Level)
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	if lacking := cgroup.Lacking(hierarchies); len(lacking) > 0 {
		need.Other(t, "this host cannot limit "+strings.Join(lacking, ", "))
	}
	require.Equal(t, doctor.OK, CheckGroups(t.Context()).Level)
	names, err := cgroup.List(hierarchies, Slice)
	require.NoError(t, err)
	for _, name := range names {
		require.NotContains(t, name, checkUnits.Name(fmt.Sprintf("doctor-%d-", os.Getpid())))
	}
}

// TestChecksEndThoseThatWereKilled has the group of a process that has ended.
func TestChecksEndThoseThatWereKilled(t *testing.T) {
	need.Root(t)
	if Systemd() {
		t.Skip("systemd ends a scope without a process by itself")
	}
	ended := exec.Command("true")
	require.NoError(t, ended.Run())
	name := fmt.Sprintf("%s%d-1", checkPrefix, ended.ProcessState.Pid())
	_, err := checkUnits.Make(name, cgroup.Limits{Memory: 64 << 20, CPUs: 1, PIDs: 10})
	require.NoError(t, err)
	require.NoError(t, endKilledChecks(t.Context()))
	names, err := checkUnits.all()
	require.NoError(t, err)
	require.NotContains(t, names, name)
}

func TestASocketIsOursAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listening, err := Listen(path)
	require.NoError(t, err)
	defer listening.Close()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	conn, err := net.Dial("unix", path)
	require.NoError(t, err, "before anybody accepts")
	require.NoError(t, conn.Close())
}
