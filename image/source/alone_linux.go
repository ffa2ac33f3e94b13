package source

import (
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// runAlone runs a command in namespaces of its own, of mounts and of
// processes: nothing that it mounts or starts outlives it. It does not outlive
// this process either, however that ends. When the context of the command is
// done, the command and all that it started are asked to end, and may clean up
// for a while.
func runAlone(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // unlike Cloneflags, makes them private
		Setpgid:      true,
		Pdeathsig:    syscall.SIGKILL,
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// The parent whose death counts is the thread that made the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}
