package plugin

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
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
	need.Programs(t, "systemd-nspawn", "mmdebstrap", "unshare", "cp")
	arguments := []string{"-backends", "synthetic nspawn", "-rounds", "30"}
	if run := os.Getenv(testrun.Variable); run != "" { // keeps the image for the next time
		arguments = append(arguments, "-images", filepath.Join(run, "state"))
	}
	soak(t, arguments...)
}

// seedOfMachines has machines suspended in the second round and one resumed in the third,
// kills the plugin in the fourth while one is suspended, and has that one resumed by a
// later process in the fifth, however fast the machine is.
const seedOfMachines = "289575"

func TestSoakOfMachines(t *testing.T) {
	t.Parallel()
	need.Root(t)
	qemu := map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[runtime.GOARCH]
	need.Programs(t, qemu, "qemu-img", "mmdebstrap", "cp")
	arguments := []string{"-backends", "qemu", "-rounds", "5", "-seed", seedOfMachines}
	if testrun.Built() { // else the soak builds the image, in namespaces of its own
		state := shortDir(t)
		testrun.Golden(t, filepath.Join(state, "images"))
		arguments = append(arguments, "-images", state)
	}
	said := soak(t, arguments...)
	for _, acts := range []string{"suspend 1", "kill 2", "resume 2"} {
		require.Contains(t, said, acts)
	}
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

// A soak that is told to end takes all with it that it has started.
func TestSoakThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	command := soakCommand(t, "-backends", "synthetic", "-rounds", "1000")
	temporary := shortDir(t)
	command.Env = append(os.Environ(), "TMPDIR="+temporary)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill() })
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, said, "seed ")
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, command.Wait(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	entries, err := os.ReadDir(temporary)
	require.NoError(t, err)
	require.Empty(t, entries)
	left, err := process.Find(func(arguments []string) bool {
		return strings.Contains(strings.Join(arguments, " "), temporary)
	})
	require.NoError(t, err)
	require.Empty(t, left)
}

func soak(t *testing.T, arguments ...string) (said string) {
	t.Helper()
	out, err := soakCommand(t, arguments...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	return string(out)
}

// soakCommand builds the program. As root it has a network and a disk of its own. It is
// told to end when the test's thread does, such as by a time-out.
func soakCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() == 0 {
		need.Programs(t, "ip", "mkfs.ext4", "mount")
	}
	program := filepath.Join(shortDir(t), "soak")
	require.NoError(t, testrun.BuildTo(program, "test/programs/soak"))
	command := exec.Command(program, append(arguments, "-plugin", binary)...)
	runtime.LockOSThread() // for good: the thread ends with the test
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return command
}
