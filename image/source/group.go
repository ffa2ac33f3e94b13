package source

import (
	"os/exec"
	"syscall"
	"time"
)

// ownGroup has the command and all that it starts asked to end together when
// the context does, and lets them clean up for a while.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = isolated()
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
}

// killGroup ends what a command of its own group has left running.
func killGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}
