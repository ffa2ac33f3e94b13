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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// Three state directories are three hosts: one builds and pushes, signed; one has its
// pool's machines from what it pulls by the tag, and cannot build; one pulls by hand.
func TestMachinesComeFromAnImageThatWasPulled(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go", "ip", "nft")
	dir, err := os.MkdirTemp(home, "p") // short, as paths of sockets are
	require.NoError(t, err)
	s := shared{binary: testrun.Program(t)}
	s.digest = testrun.Golden(t, filepath.Join(dir, "first", "images")).Digest()
	server := registry.Start(t)
	private, public := registry.Keys(t)
	reference := server.Host + "/mayfly/debian:13"
	pushed := strings.TrimSpace(string(s.command(t, "image", "push", "--plain-http", "--sign-key", private,
		"--image", s.digest, "--state-dir", filepath.Join(dir, "first"), reference)))
	require.Contains(t, pushed, server.Host+"/mayfly/debian@sha256:")

	config := filepath.Join(dir, "config.toml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`
[[runners]]
  name = "pulled"
  executor = "instance"
  [runners.autoscaler]
    plugin = %q
    [runners.autoscaler.plugin_config]
      backend = "qemu"
      state_dir = %q
      [runners.autoscaler.plugin_config.image]
        source = "oci:%s"
        plain_http = true
        verify_key = %q
      [runners.autoscaler.plugin_config.machine]
        cpus = 1
        memory = "512MiB"
        disk = %q
      [runners.autoscaler.plugin_config.fork]
        enabled = false # a template of its own takes a minute, and forks of one are the same
`, testrun.ProgramName, filepath.Join(dir, "second"), reference, public, testrun.DiskSize)), 0o600))
	try := exec.CommandContext(patiently(t), s.binary, "try", "--json", "--config", config, "--",
		"cat /etc/mayfly-step; sudo -n id -u")
	try.Stderr = os.Stderr
	show := sandbox.Hide(t, "mmdebstrap")
	out, err := try.Output()
	show()
	require.NoError(t, err, string(out))
	outcome, err := runner.ParseOutcome(out)
	require.NoError(t, err)
	require.Equal(t, s.digest, outcome.Image.Digest)
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 1)
	require.Equal(t, backend.Clone, outcome.Jobs[0].How)
	require.Equal(t, "a: b\n0\n", outcome.Jobs[0].Stdout)

	pulled := s.command(t, "image", "pull", "--plain-http", "--verify-key", public,
		"--state-dir", filepath.Join(dir, "third"), pushed)
	require.Equal(t, s.digest, strings.TrimSpace(string(pulled)))
	for _, host := range []string{"second", "third"} {
		shell(t, fmt.Sprintf("cmp %s %s", filepath.Join(dir, "first", "images", s.digest, "disk.raw"),
			filepath.Join(dir, host, "images", s.digest, "disk.raw")))
	}
}
