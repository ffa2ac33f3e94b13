//go:build linux

package nspawn

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/secrets"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// openLimit bounds what opening a pool and starting its workers take on a busy host.
const openLimit = 5 * time.Minute

// startPlugin starts the program as the runner does, with a pool on a state directory
// and n workers that run.
func startPlugin(t *testing.T, p *pool, program string, n int, log *bytes.Buffer) (plugin *runner.Plugin, ids []string) {
	t.Helper()
	plugin, err := runner.Start(program, map[string]any{
		"backend": "nspawn", "state_dir": p.state, "pool": p.name,
		"image":   testrun.InputsJSON(),
		"machine": map[string]any{"cpus": 1, "memory": "512MiB"},
	}, hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: log}))
	require.NoError(t, err)
	t.Cleanup(plugin.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), openLimit)
	defer cancel()
	require.NoError(t, plugin.Initialise(ctx))
	require.NoError(t, plugin.Grow(ctx, n))
	ids, err = plugin.AwaitRunning(ctx)
	require.NoError(t, err)
	return plugin, ids
}

// A service manager may give the runner any umask, and containers have users that must
// read what the host's root has made.
func TestSecretsAreKeptWhateverTheUmask(t *testing.T) {
	for _, umask := range []string{"000", "077"} {
		t.Run(umask, func(t *testing.T) {
			p, _ := newPool(t, ext4Dir, "secrets")
			s, err := share()
			require.NoError(t, err)
			masked := filepath.Join(t.TempDir(), "masked")
			script := "#!/bin/sh\numask " + umask + "\nexec '" + s.binary + "'\n"
			require.NoError(t, os.WriteFile(masked, []byte(script), 0o700))

			var log bytes.Buffer
			plugin, ids := startPlugin(t, p, masked, 1, &log)
			_, err = plugin.Run(t.Context(), ids[0], "cat /etc/os-release && sudo -n true")
			require.NoError(t, err)
			secrets.RequireClosed(t, p.state)
			keys := secrets.RequireKept(t, p.state)
			require.GreaterOrEqual(t, len(keys), 2, "a login key and a host key")
			require.NoError(t, plugin.Stop(t.Context())) // and nobody writes to the log any more
			keys.RequireAbsent(t, log.String())
		})
	}
}

// What a job has written is gone when the next plugin, or gc, has removed its worker.
func TestKilledPluginLeavesNoDisk(t *testing.T) {
	p, _ := newPool(t, btrfsDir, "default")
	s, err := share()
	require.NoError(t, err)
	plugin, ids := startPlugin(t, p, s.binary, 1, new(bytes.Buffer))
	_, err = plugin.Run(t.Context(), ids[0], "dd if=/dev/zero of=file bs=1M count=64 status=none")
	require.NoError(t, err)
	file := filepath.Join(p.dir, "workers", ids[0], diskFile)
	require.Contains(t, loopDevices(t), file)
	pid := runner.PluginPID(t, p.state)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return !runner.Alive(pid) }, patience, 10*time.Millisecond)
	out, err := exec.CommandContext(t.Context(), s.binary, "gc", "--state-dir", p.state).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "machine "+ids[0])
	require.NotContains(t, loopDevices(t), file)
	require.NoFileExists(t, file)
	requireNothingLeft(t, p)
}
