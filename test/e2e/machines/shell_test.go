//go:build linux

package machines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// shells has the test of shells run, whose two boots take minutes by emulation: MAYFLY_TEST_SHELL=yes
// go test -timeout 1h -run AShell ./test/e2e/machines, as root.
const shells = "MAYFLY_TEST_SHELL"

// A command works in a clone, and a recipe goes on from what it leaves: two boots, of
// which the second is of a disk that is sealed. What both leave is read from the disks.
func TestAShellLeavesADiskThatBuildsGoOnFrom(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go", "ip", "nft", "ssh", "debugfs")
	if os.Getenv(shells) == "" {
		t.Skip("it takes minutes by emulation: set " + shells)
	}
	dir, err := os.MkdirTemp(home, "s") // short, as paths of sockets are
	require.NoError(t, err)
	s, images := shared{binary: testrun.Program(t)}, filepath.Join(dir, "images")
	want := testrun.Golden(t, images).Digest()
	run := func(source string, arguments ...string) []string {
		t.Helper()
		config := filepath.Join(dir, "config.toml")
		require.NoError(t, os.WriteFile(config, []byte(shellConfig(source)), 0o600))
		command := exec.CommandContext(patiently(t), s.binary, append([]string{"image", arguments[0],
			"--config", config, "--state-dir", dir}, arguments[1:]...)...)
		command.Stderr = os.Stderr
		out, err := command.Output()
		require.NoError(t, err, string(out))
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}

	said := run(testrun.ImageSection(), "shell", "--root", "--save", "tools", "--",
		"id -un; echo kept >/etc/from-shell; rm /etc/mayfly-step")
	require.Len(t, said, 2)
	require.Equal(t, "root", said[0])
	built := run("source = \"saved:tools\"\nrun = [\"cat /etc/from-shell >/etc/from-step\"]\n", "build")[0]
	require.NotContains(t, []string{want, said[1]}, built)
	for digest, step := range map[string]string{said[1]: "", built: "kept\n"} {
		golden, found, err := cache.New(images).Get(digest)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, digest == said[1], golden.ByHand())
		for name, want := range map[string]string{
			"/etc/from-shell": "kept\n", "/etc/from-step": step, "/etc/machine-id": "", "/etc/mayfly-step": "",
			"/etc/ssh/ssh_host_ed25519_key": "", "/home/mayfly/.ssh/authorized_keys": "",
		} {
			text, err := exec.Command("debugfs", "-R", "cat "+name, golden.Disk()).Output()
			require.NoError(t, err)
			require.Equal(t, want, string(text), "%s of %s", name, digest)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "pools", "*", "workers", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// shellConfig asks for an image of the size of the shared one.
func shellConfig(section string) string {
	return fmt.Sprintf(`
[[runners]]
  name = "shell"
  executor = "instance"
  [runners.autoscaler]
    plugin = %q
    [runners.autoscaler.plugin_config]
      backend = "qemu"
      [runners.autoscaler.plugin_config.image]
%s
      [runners.autoscaler.plugin_config.machine]
        cpus = 2
        memory = "1GiB"
        disk = %q
`, testrun.ProgramName, section, testrun.DiskSize)
}
