//go:build linux

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// The program has a command work in a clone, and makes an image of what is left, from
// which another recipe goes on.
func TestAShellLeavesAnImageThatBuildsGoOnFrom(t *testing.T) {
	need.Programs(t, "ssh")
	p, _ := newPool(t, btrfsDir, "shared")
	s, err := share()
	require.NoError(t, err)
	shell := func(options ...string) (stdout string, err error) {
		options = append([]string{"image", "shell", "--config", s.config, "--state-dir", p.state}, options...)
		command := exec.CommandContext(t.Context(), s.binary, options...)
		command.Stderr = os.Stderr
		out, err := command.Output()
		return string(out), err
	}

	out, err := shell("--save", "tools", "--", "echo seen; id -un; exit 7")
	exit := (&exec.ExitError{})
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode(), "the exit code is that of the command, and nothing is saved")
	require.Equal(t, "seen\nmayfly\n", out)
	requireNoTrace(t, p)

	out, err = shell("--root", "--save", "tools", "--",
		"id -un; echo kept >/etc/from-shell; rm -r /etc/mayfly; echo x >/tmp/gone; ln -s /etc /opt/link; sync")
	require.NoError(t, err, out)
	who, digest, _ := strings.Cut(strings.TrimSpace(out), "\n")
	require.Equal(t, "root", who)
	requireNoTrace(t, p)
	images := cache.New(filepath.Join(p.state, "images"))
	saved, found, err := images.Get(digest)
	require.NoError(t, err)
	require.True(t, found)
	requireSaved(t, saved)

	config := filepath.Join(t.TempDir(), "config.toml")
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	from, to, found := strings.Cut(string(text), "run = ")
	require.True(t, found)
	_, rest, found := strings.Cut(to, "[runners.autoscaler.plugin_config.machine]")
	require.True(t, found)
	from += "source = \"saved:tools\"\nrun = [\"test -e /etc/from-shell && echo more >/etc/from-step\"]\n" +
		"[runners.autoscaler.plugin_config.machine]" + rest
	require.NoError(t, os.WriteFile(config, []byte(from), 0o600))
	const look = "cat /etc/from-shell /etc/from-step; ls /etc/mayfly 2>&1 | wc -l; sudo -n id -un"
	job := exec.CommandContext(t.Context(), s.binary,
		"image", "shell", "--config", config, "--state-dir", p.state, "--", look)
	job.Stderr = os.Stderr
	said, err := job.Output()
	require.NoError(t, err)
	require.Equal(t, "kept\nmore\n1\nroot\n", string(said))
	requireNoTrace(t, p)
}

// requireSaved wants a sealed tree with what the shell has done, and nothing of the
// worker that it ran in.
func requireSaved(t *testing.T, saved image.Golden) {
	t.Helper()
	require.True(t, saved.ByHand())
	for name, want := range map[string]string{
		"etc/from-shell": "kept\n", "etc/machine-id": "", "etc/mayfly-step": "a: b\n",
	} {
		text, err := os.ReadFile(filepath.Join(saved.Tree(), name))
		require.NoError(t, err)
		require.Equal(t, want, string(text), name)
	}
	for _, gone := range []string{
		"etc/ssh/ssh_host_*", "home/mayfly/.ssh", "root/.ssh", "tmp/*", "var/log/*.log",
	} {
		found, err := filepath.Glob(filepath.Join(saved.Tree(), gone))
		require.NoError(t, err)
		require.Empty(t, found, gone)
	}
	to, err := os.Readlink(filepath.Join(saved.Tree(), "opt/link"))
	require.NoError(t, err)
	require.Equal(t, "/etc", to)
}
