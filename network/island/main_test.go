//go:build linux

package island

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// inside marks the test process that has a host of its own to work on.
const inside = "MAYFLY_TEST_INSIDE"

// TestMain runs the tests in a process with a network namespace and mounts of
// its own, which play the host: the machine's are never changed.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) == "" {
		os.Exit(runInside())
	}
	if role := os.Getenv(playing); role != "" {
		os.Exit(play(role)) // on the host that the tests have furnished
	}
	if err := furnishHost(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runInside() int {
	runtime.LockOSThread() // whose death would kill the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL,
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "starting the tests in namespaces of their own:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func furnishHost() error {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the host's network namespace: %w", err)
	}
	hostNamespace = fmt.Sprintf("/proc/self/fd/%d", home)
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting an empty /run: %w", err)
	}
	loopback := configure("lo")
	loopback.up()
	return errors.Join(loopback.err, doubtNoAddress())
}

// requireHost skips a test that has no host to work on, except in CI.
func requireHost(t testing.TB) {
	t.Helper()
	need.Root(t)
	need.Programs(t, "nft", "ip")
}
