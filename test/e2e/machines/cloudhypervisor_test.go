//go:build linux

package machines

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// TestTryOnCloudHypervisor has the fake of Cloud Hypervisor in PATH, and
// runs on the golden image that QEMU's prebuild made.
func TestTryOnCloudHypervisor(t *testing.T) {
	sandbox.Need(t)
	s := begin(t)
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip("the probe wants a device to try, although nothing is run with it: ", err)
	} else {
		require.NoError(t, device.Close())
	}
	bin := filepath.Join(home, "cloud")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	_, err := fakecloudhypervisor.Build(bin)
	require.NoError(t, err)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	outcome, err := runner.ParseOutcome(s.command(t, "try", "--json", "--config", configFile(), "--backend", "cloudhypervisor", "--jobs", "1", "--", inspect))
	require.NoError(t, err)
	require.Equal(t, "cloudhypervisor", outcome.Backend)
	require.Equal(t, "kvm", outcome.Acceleration)
	require.Equal(t, s.digest, outcome.Image.Digest, "both backends use one image")
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 1)
	job := outcome.Jobs[0]
	require.Zero(t, job.ExitCode, job)
	require.Equal(t, backend.Fork, job.How)
	said := lines(job.Stdout)
	require.Len(t, said, 6, job.Stdout)
	require.Equal(t, job.Worker, said[1])
	t.Logf("ready after %.2f s", job.ReadySeconds)
}
