//go:build linux

package nspawn

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// TestAnEndInOrderIsNotForWantOfMemory has containers that lost a process before.
func TestAnEndInOrderIsNotForWantOfMemory(t *testing.T) {
	exits := func(code int) error {
		return fmt.Errorf("ended: %w", exec.Command("sh", "-c", fmt.Sprintf("exit %d", code)).Run())
	}
	for _, test := range []struct {
		err   error
		kills int
		want  string
	}{
		{process.ErrSucceeded, 1, "machine is gone: the guest powered itself off"},
		{exits(rebooted), 1, "machine is gone: the guest rebooted"},
		{exits(1), 2, "machine is gone: out of its memory limit of 256 MiB: the kernel killed 2 of its processes"},
		{exits(1), 0, "machine is gone: systemd-nspawn ended: exit status 1"},
	} {
		err := explainEnd(test.err, test.kills, 256<<20, filepath.Join(t.TempDir(), "none"))
		require.EqualError(t, err, test.want)
		require.ErrorIs(t, err, guest.ErrGone)
	}
}
