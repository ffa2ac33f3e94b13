//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// outside is set inside the sandbox: the path of the network namespace that
// the tests were started in.
const outside = "MAYFLY_SANDBOX_OUTSIDE"

// Main runs the tests inside the sandbox and returns the exit code for
// os.Exit. Without root it runs them as they are; tests that call Need then
// skip. setUp makes what the tests of the package share, and returns what removes
// it; what all packages share is package testrun's. Orphans in the package's
// directory are ended, also after a test that hung.
//
// Two programs run outside all the same, because only the machine's own network
// reaches the package mirror and the module proxy: mmdebstrap and go.
func Main(m *testing.M, setUp func() (tearDown func())) int {
	tests := func() int {
		tearDown := setUp()
		defer tearDown()
		return m.Run()
	}
	if os.Getenv(outside) != "" {
		return Inside(tests) // the process outside has opened the directory
	}
	closePackage, err := testrun.OpenPackage()
	if err != nil {
		fmt.Fprintln(os.Stderr, "making the directory of the package:", err)
		return 1
	}
	defer closePackage()
	if os.Geteuid() != 0 {
		return tests()
	}
	code := Inside(tests)
	if err := endProcesses(testrun.Directory()); err != nil {
		fmt.Fprintln(os.Stderr, "ending orphans of the tests:", err)
		return 1
	}
	return code
}

// endLimit bounds the end of a process that was killed.
const endLimit = time.Minute

// endProcesses kills the processes whose arguments name a directory.
func endProcesses(dir string) error {
	found, err := process.Find(func(arguments []string) bool {
		return strings.Contains(strings.Join(arguments, " "), dir)
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	for running := range found {
		left, err := process.Adopt(running)
		if errors.Is(err, process.ErrNotRunning) {
			continue
		}
		if err == nil {
			err = left.Kill(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Inside runs what a program is for inside the sandbox, and returns the exit
// code for os.Exit. It starts the program anew there, with the same arguments, and
// passes on the signals that ask it to end: run decides what becomes of them.
func Inside(run func() int) int {
	if os.Getenv(outside) == "" {
		return reexecute()
	}
	tools, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the sandbox:", err)
		return 1
	}
	defer os.RemoveAll(tools)
	return run()
}

// Need skips a test that is not in the sandbox, or lacks a program; in CI it
// fails the test.
func Need(t testing.TB, names ...string) {
	t.Helper()
	need.Programs(t, names...)
	if os.Getenv(outside) == "" {
		need.Other(t, "needs root")
	}
}

func reexecute() int {
	runtime.LockOSThread() // whose end would be the child's
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), outside+"=/proc/"+strconv.Itoa(os.Getpid())+"/ns/net")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := runTelling(cmd)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "starting the sandbox:", err)
		return 1
	}
	return 0
}

// runTelling runs a command, and tells it to end whenever this process is told so: a
// signal may come to one of the two alone.
func runTelling(cmd *exec.Cmd) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	defer close(told)
	defer signal.Stop(told)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		for s := range told {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	return cmd.Wait()
}

// prepare returns a directory of scripts that is first in PATH.
func prepare() (tools string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("making mounts private: %w", err)
	}
	for _, notes := range []string{"/run/netns", "/run/mayfly"} { // of the machine's own network
		if err := os.MkdirAll(notes, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount("tmpfs", notes, "tmpfs", 0, "mode=755"); err != nil {
			return "", fmt.Errorf("mounting %s: %w", notes, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return "", err
	}
	return runOutside("mmdebstrap", "go")
}

// runOutside makes programs run in the network that the tests were started in,
// by scripts of their names. It leaves one out that is not there: tests that
// want it say so.
func runOutside(names ...string) (tools string, err error) {
	if tools, err = os.MkdirTemp(testrun.Directory(), "tools-"); err != nil {
		return "", err
	}
	for _, program := range names {
		path, err := programs.Find(program)
		if err != nil {
			continue
		}
		script := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=%s %s \"$@\"\n", os.Getenv(outside), path)
		if err := os.WriteFile(filepath.Join(tools, program), []byte(script), 0o755); err != nil {
			return tools, err
		}
	}
	return tools, os.Setenv("PATH", tools+":"+os.Getenv("PATH"))
}
