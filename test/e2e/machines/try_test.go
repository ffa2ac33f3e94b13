//go:build linux

package machines

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// inspect is what the jobs of try run: what tells machines apart, and what the
// instance executor needs in one. Workers never run cloud-init.
const inspect = "cat /etc/machine-id; hostname; cat /etc/ssh/ssh_host_ed25519_key.pub; sudo -n true; " +
	"cloud-init status --wait; command -v git curl"

func TestTryRunsJobsOnMachinesOfTheirOwn(t *testing.T) {
	s := begin(t)
	outcome, err := runner.ParseOutcome(s.command(t, "try", "--json", "--config", configFile(), "--jobs", "3", "--", inspect))
	require.NoError(t, err)
	require.Equal(t, "qemu", outcome.Backend)
	require.Equal(t, s.digest, outcome.Image.Digest)
	require.Positive(t, outcome.Image.BuiltSeconds)
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 3)
	seen := make(map[string]bool)
	for _, job := range outcome.Jobs {
		require.Equal(t, backend.Fork, job.How)
		require.Zero(t, job.ExitCode)
		require.Empty(t, job.Stderr)
		require.Positive(t, job.ReadySeconds)
		said := lines(job.Stdout)
		require.Len(t, said, 6, job.Stdout)
		machineID, hostname, hostKey := said[0], said[1], said[2]
		require.Regexp(t, "^[0-9a-f]{32}$", machineID)
		require.Equal(t, job.Worker, hostname)
		require.Regexp(t, "^ssh-ed25519 ", hostKey)
		require.Equal(t, "status: disabled", said[3])
		require.Equal(t, []string{"/usr/bin/git", "/usr/bin/curl"}, said[4:])
		for _, own := range []string{machineID, hostname, hostKey} {
			require.False(t, seen[own], "two machines have %s", own)
			seen[own] = true
		}
	}

	require.JSONEq(t, "[]", string(s.command(t, "ps", "--json", "--config", configFile())))
	requireOneImage(t, s, outcome)
	requireDiagnosis(t, s, outcome.Acceleration)
}

// lines are those of a text that are not empty.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// requireOneImage wants the image that try ran on to be the only one.
func requireOneImage(t *testing.T, s shared, outcome runner.Outcome) {
	t.Helper()
	var images []struct {
		Digest       string
		BuiltSeconds float64 `json:"built_seconds"`
		Bytes        int64
	}
	require.NoError(t, json.Unmarshal(s.command(t, "image", "list", "--json", "--config", configFile()), &images))
	require.Len(t, images, 1)
	require.Equal(t, outcome.Image.Digest, images[0].Digest)
	require.InDelta(t, outcome.Image.BuiltSeconds, images[0].BuiltSeconds, 1e-9)
	require.Positive(t, images[0].Bytes)
}

// requireDiagnosis wants doctor to find nothing missing where machines have
// just run, and to say of KVM what those machines ran with, not what /dev/kvm
// looks like.
func requireDiagnosis(t *testing.T, s shared, acceleration string) {
	t.Helper()
	var diagnosis struct {
		Backend  string
		Findings []doctor.Finding
	}
	require.NoError(t, json.Unmarshal(s.command(t, "doctor", "--json", "--config", configFile()), &diagnosis))
	require.Equal(t, "qemu", diagnosis.Backend)
	found := make(map[string]doctor.Finding)
	for _, finding := range diagnosis.Findings {
		require.Contains(t, []doctor.Level{doctor.OK, doctor.Warning}, finding.Level, finding)
		require.NotEmpty(t, finding.What, finding)
		require.NotEmpty(t, finding.Detail, finding)
		require.Equal(t, finding.Level == doctor.OK, finding.Mend == "", finding)
		found[finding.What] = finding
	}
	for _, what := range []string{"qemu-img", "mmdebstrap", "/dev/net/tun", "state_dir", "network.subnet", "acceleration"} {
		require.Contains(t, found, what)
	}
	kvm := found["acceleration"]
	require.True(t, strings.HasPrefix(kvm.Detail, acceleration+": "), "%s ran, and doctor says: %s", acceleration, kvm.Detail)
	require.Equal(t, acceleration == "kvm", kvm.Level == doctor.OK, kvm)
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil && acceleration != "kvm" {
		require.NoError(t, device.Close())
		require.Contains(t, kvm.Detail, "KVM is there, but")
	}
}
