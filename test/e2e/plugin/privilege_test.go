package plugin

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The synthetic backend is for people without root too, although a pool may
// have been another backend's before, whose orphans only root can look for.
func TestSyntheticWorkersNeedNoPrivilege(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	program := filepath.Join(dir, "program")
	require.NoError(t, os.Link(binary, program))
	for _, args := range [][]string{
		{"try", "--backend", "synthetic", "--", "echo", "hi"},
		{"gc", "--backend", "synthetic"},
	} {
		command := exec.Command(program, append([]string{args[0], "--state-dir", dir + "/state"}, args[1:]...)...)
		command.Env = append(os.Environ(), "TMPDIR="+dir) // ours may be closed to other users
		if os.Geteuid() == 0 {
			const nobody = 65534
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
	}
}
