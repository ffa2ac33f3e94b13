package plugin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// Short runs of `make soak`, which print their seeds when they fail.
func TestSoakOfSyntheticWorkers(t *testing.T) {
	t.Parallel()
	soak(t, "-backends", "synthetic", "-rounds", "5")
}

func TestSoakOfContainersBesideSyntheticWorkers(t *testing.T) {
	t.Parallel()
	need.Root(t)
	need.Programs(t, "systemd-nspawn", "mmdebstrap", "unshare", "mount", "mkfs.ext4", "cp", "ip")
	arguments := []string{"-backends", "synthetic nspawn", "-rounds", "30"}
	if run := os.Getenv(testrun.Variable); run != "" { // keeps the image for the next time
		arguments = append(arguments, "-images", filepath.Join(run, "state"))
	}
	soak(t, arguments...)
}

// Workers come and go, and the plugin process does not grow.
func TestChurn(t *testing.T) {
	t.Parallel()
	workers := 200
	if testing.Short() {
		workers = 40
	}
	soak(t, "-backends", "synthetic", "-churn", strconv.Itoa(workers))
}

func soak(t *testing.T, arguments ...string) {
	t.Helper()
	program := filepath.Join(shortDir(t), "soak")
	build := exec.Command("go", "build", "-o", program, "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/soak")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program, append(arguments, "-plugin", binary)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
