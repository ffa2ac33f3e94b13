//go:build linux

package cloudhypervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	fake "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
)

func TestCheckSaysWhatIsMissing(t *testing.T) {
	w := newWorld(t, "check")
	found := func() map[string]doctor.Finding {
		byName := map[string]doctor.Finding{}
		for _, finding := range w.Check(t.Context()) {
			require.NotEmpty(t, finding.Detail)
			require.Equal(t, finding.Level == doctor.OK, finding.Mend == "", finding)
			byName[filepath.Base(finding.What)] = finding
		}
		return byName
	}
	require.Equal(t, doctor.OK, found()["cloud-hypervisor"].Level)
	require.Contains(t, found(), "confinement")
	require.Contains(t, found(), "landlock")
	for release, want := range map[string]doctor.Level{"v50.2": doctor.Missing, "v51.1": doctor.Warning, "v53.1": doctor.OK, "nonsense": doctor.Missing} {
		behave(t, fake.Release, release)
		require.Equal(t, want, found()["cloud-hypervisor"].Level, release)
	}
	w.driver.Binary = filepath.Join(t.TempDir(), "none")
	w.Backend = w.again()
	require.Equal(t, doctor.Missing, found()["none"].Level)
	w.options.Source = image.HTTPS
	w.Backend = w.again()
	require.Equal(t, doctor.Warning, found()["image.source"].Level)
}

// TestWithoutKVMNothingHangs has a probe in which no kernel boots.
func TestWithoutKVMNothingHangs(t *testing.T) {
	w := newWorld(t, "nokvm")
	behave(t, fake.Fails, "probe")
	w.options.StateDir = t.TempDir() // no answer is known there
	w.Backend = w.again()
	kernel := filepath.Join(t.TempDir(), image.KernelFile)
	require.NoError(t, os.WriteFile(kernel, nil, 0o600))
	_, err := w.Start(t.Context(), image.Golden{Dir: filepath.Dir(kernel)}, backend.Spec{ID: "nokvm-aaaaaaaa", Dir: t.TempDir(), Size: size()})
	require.ErrorContains(t, err, "a kernel did not boot on it")
}
