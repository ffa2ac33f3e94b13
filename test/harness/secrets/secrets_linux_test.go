package secrets

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

func TestLeaksInProcessesAreFound(t *testing.T) {
	for what, leak := range map[string]func(*exec.Cmd, sshkey.Pair){
		"cmdline holds": func(c *exec.Cmd, key sshkey.Pair) { c.Args[0] = key.Private },
		"environ holds": func(c *exec.Cmd, key sshkey.Pair) { c.Env = []string{"KEY=" + key.Private} },
	} {
		t.Run(what, func(t *testing.T) {
			dir, _, key := state(t)
			process := exec.Command("sleep", "600")
			leak(process, key)
			require.NoError(t, process.Start())
			t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
			_, leaks, err := look(dir)
			require.NoError(t, err)
			require.Contains(t, strings.Join(leaks, "\n"), what)
		})
	}
}
