//go:build linux

package process

import (
	"fmt"
	"net"
	"os"
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
