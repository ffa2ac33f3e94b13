//go:build linux

package fakeguest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bootVariable makes this program a guest's first process.
const bootVariable = "MAYFLY_FAKE_GUEST"

// Main is to be called first by every program that boots guests: in the
// process that Boot starts it is the guest, and does not return.
func Main() {
	spec := os.Getenv(bootVariable)
	if spec == "" {
		return
	}
	if err := guestMain(spec); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Boot starts the guest in the root, with its SSH server at port 22 of the
// address. It ends with exit code 0 when it shuts down by itself, and with its
// parent: all that runs in it goes with it.
//
// The parent's thread must not end before: call it with the thread locked.
func Boot(root, address string) (*exec.Cmd, error) {
	runtime.LockOSThread()
	_ = os.Remove(filepath.Join(root, powerFile))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), bootVariable+"="+address+" "+root)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("booting the guest in %s: %w", root, err)
	}
	return cmd, nil
}

func guestMain(spec string) error {
	var address, root string
	if _, err := fmt.Sscanf(spec, "%s %s", &address, &root); err != nil {
		return err
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "22"))
	if err != nil {
		return err
	}
	s := &server{root: root}
	if err := s.load(); err != nil {
		return err
	}
	go s.serve(listener)
	for {
		if _, err := os.Stat(filepath.Join(root, powerFile)); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// mountSystem shows this machine's programs, read-only, below the root.
func mountSystem(root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64"} {
		at := filepath.Join(root, dir)
		if link, err := os.Readlink(dir); err == nil {
			if err := os.Symlink(link, at); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := bind(dir, at, unix.MS_RDONLY); err != nil {
			return err
		}
	}
	// What the guest installs there is its own.
	local := filepath.Join(root, "local")
	if err := os.MkdirAll(filepath.Join(local, "bin"), 0o755); err != nil {
		return err
	}
	if err := bind(local, filepath.Join(root, "usr/local"), 0); err != nil {
		return err
	}
	for _, device := range []string{"/dev/null", "/dev/zero"} {
		if err := bind(device, filepath.Join(root, device), 0); err != nil {
			return err
		}
	}
	return nil
}

func bind(from, to string, flags uintptr) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s to %s: %w", from, to, err)
	}
	if flags == 0 {
		return nil
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("binding %s to %s: %w", from, to, err)
	}
	return nil
}

// inRoot makes a command of the guest's.
func inRoot(cmd *exec.Cmd, root string) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
}
