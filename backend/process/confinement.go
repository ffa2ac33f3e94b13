//go:build linux

package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
)

// Confinement is all that a program has: a user without a name, no capabilities
// and no way to any, no keys, a file system of its own with what is named here, and a
// control group with limits. System V's IPC and the host's name are its own as
// well. The host's programs and libraries are there too, read-only.
type Confinement struct {
	// User is its user and group.
	User int
	// Read and Write are the absolute paths of files and directories, which have the
	// same paths inside. What of them the user may do is for their owner and mode to
	// say, but that what is below Read is written to by nobody.
	Read, Write []string
	// Devices are paths of device nodes. The program gets nodes of its own.
	Devices []string
	// Unit is the name of the control group, as Units has it.
	Unit   string
	Limits cgroup.Limits
	// JoinsLate says that the program does nothing that needs its limits before
	// Process.Joined: it starts at once, and enters its group meanwhile. That takes the
	// kernel some ten milliseconds with version 1.
	JoinsLate bool
	// LockedMemory is how many bytes the program may keep in memory at least, in steps of
	// 1024; 0 leaves it as it is for us.
	LockedMemory int64
	// FileSize is how many bytes a file may have that it writes to, in steps of 512; 0 is
	// no limit. The kernel ends a program that passes it.
	FileSize int64
}

// environment is all that a confined program gets: the plugin's own may hold the
// runner's secrets.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}

// startConfined starts cmd with the confinement of c. Only a shell helps it: a thread
// of ours confines itself, and the child has what the thread has that made it.
// The thread ends then. What is returned enters the child into its group, where it is
// not there yet.
func startConfined(c Command, cmd *exec.Cmd) (enter func() error, err error) {
	cmd.Env = environment
	user := uint32(c.Confinement.User)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
	seen, err := c.Confinement.view(cmd.Path)
	if err != nil {
		return nil, err
	}
	join := joinScope
	if !Systemd() {
		join = joinGroup
	}
	joined, err := join(c.Confinement, cmd)
	if err != nil {
		return nil, err
	}
	if err := allowLocked(c.Confinement.LockedMemory); err != nil {
		return nil, errors.Join(err, joined.close())
	}
	if err := c.Confinement.begin(cmd, joined.first); err != nil {
		return nil, errors.Join(err, joined.close())
	}
	if err := startOnThread(c, cmd, seen, joined.thread); err != nil {
		return nil, errors.Join(err, joined.close())
	}
	return func() error {
		return errors.Join(joined.started(cmd.Process.Pid), joined.close())
	}, nil
}

// startOnThread starts cmd from a thread that has first given up all but what was seen.
func startOnThread(c Command, cmd *exec.Cmd, seen view, join func(thread int) error) error {
	namespace, err := openNamespace(c.Namespace)
	if err != nil {
		return err
	}
	defer namespace.Close()
	return onThreadThatEnds(func() error {
		joined := make(chan error, 1)
		thread := unix.Gettid()
		go func() { joined <- join(thread) }() // beside the mounts: it waits mostly
		steps := []func() error{
			func() error { return enter(namespace) },
			leaveKeys,
			func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS) },
			func() error { return seen.mount(c.Confinement.User) },
			dropPrivileges,
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return errors.Join(err, <-joined)
			}
		}
		if err := <-joined; err != nil {
			return err
		}
		return cmd.Start()
	})
}

// openNamespace opens a network namespace; none for an empty path, which is the
// caller's.
func openNamespace(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	namespace, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	return namespace, nil
}

func enter(namespace *os.File) error {
	if namespace == nil {
		return nil
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", namespace.Name(), err)
	}
	return nil
}

// onThreadThatEnds runs f on a thread that runs nothing else afterwards. The main
// thread would not end, and what /proc/self shows is its: it is passed over.
func onThreadThatEnds(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThreadThatEnds(f)
			return
		}
		done <- f() // and the thread ends with this goroutine, since it stays locked
	}()
	return <-done
}

// leaveKeys gives the thread, and what it starts, a session keyring of its own: a
// program may read the keys of the one that it inherits, whoever it runs as. Where the
// kernel has no keyrings, or a container's filter lets nobody at them, there is nothing
// to leave.
func leaveKeys() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) // a new one without a name
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("leaving the keys of our session: %w", err)
	}
	return nil
}

// dropPrivileges leaves the thread, and what it starts, no capability that
// survives a change of user or an exec.
func dropPrivileges() error {
	for capability := uintptr(0); ; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && capability > 0 { // the kernel knows no more
			break
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", capability, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("dropping ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("dropping inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	return nil
}

// allowLocked raises what we, and so our children, may be allowed to keep in memory.
// Nobody else of ours uses it: the limit that holds stays as it is.
func allowLocked(bytes int64) error {
	if bytes == 0 {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("asking how much memory may be locked: %w", err)
	}
	if limit.Max >= uint64(bytes) {
		return nil
	}
	limit.Max = uint64(bytes)
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("allowing a program to lock %d bytes of memory: %w: "+
			"set LimitMEMLOCK=infinity for the service that runs the plugin", bytes, err)
	}
	return nil
}

// begin has a shell do what a program has to do itself, and then become it. A limit on
// files is such: it is a whole process's, and another may set it with a capability only
// that not every root has.
func (c *Confinement) begin(cmd *exec.Cmd, first string) error {
	var steps []string
	if c.FileSize > 0 {
		const block = 512 // the unit of ulimit
		steps = append(steps, fmt.Sprintf("ulimit -f %d", c.FileSize/block))
	}
	if c.LockedMemory > 0 {
		const unit = 1024
		steps = append(steps, fmt.Sprintf("ulimit -l %d", (c.LockedMemory+unit-1)/unit))
	}
	if first != "" {
		steps = append(steps, first)
	}
	if len(steps) == 0 {
		return nil
	}
	_, err := os.Stat(cmd.Path)
	if err = cmp.Or(cmd.Err, err); err != nil { // the shell would say so where nobody hears it
		return err
	}
	script := strings.Join(append(steps, `exec "$@"`), " && ")
	cmd.Args = slices.Concat([]string{"sh", "-c", script, "sh", cmd.Path}, cmd.Args[1:])
	cmd.Path = "/bin/sh"
	return nil
}

// joining is how a child gets into its control group.
type joining struct {
	// first is what the child's shell does before it becomes the program, if anything.
	first string
	// thread is called with the id of the thread that starts the child, on another, and
	// started with the child's pid.
	thread  func(id int) error
	started func(pid int) error
	close   func() error
}

func nothingToClose() error { return nil }

// joinGroup makes a group of our own. The child is born in it, unless it joins late one
// of version 1.
func joinGroup(c *Confinement, cmd *exec.Cmd) (joining, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return joining{}, err
	}
	entries, err := scope(hierarchies, c.Unit).Make(c.Limits)
	if err != nil {
		return joining{}, err
	}
	joined := joining{close: nothingToClose}
	for _, entry := range entries {
		if !entry.Unified {
			continue
		}
		dir, err := os.Open(entry.Dir)
		if err != nil {
			return joining{}, fmt.Errorf("opening a control group: %w", err)
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		joined.close = dir.Close
	}
	enterAll := func(enter func(cgroup.Entry, int) error, id int) error {
		for _, entry := range entries {
			if entry.Unified {
				continue
			}
			if err := enter(entry, id); err != nil {
				return fmt.Errorf("entering a control group: %w", err)
			}
		}
		return nil
	}
	none := func(int) error { return nil }
	joined.thread, joined.started = none, none
	if c.JoinsLate {
		joined.started = func(pid int) error { return enterAll(cgroup.Entry.Enter, pid) }
	} else {
		joined.thread = func(id int) error { return enterAll(cgroup.Entry.EnterThread, id) }
	}
	return joined, nil
}

// wait is a part of a script that goes on once a line comes from the descriptor 9.
// Without one it fails.
const wait = "read -r line <&9 && exec 9<&-"

// joinScope has systemd move the child into a scope. The child waits for that, unless
// it joins late.
func joinScope(c *Confinement, cmd *exec.Cmd) (joining, error) {
	joined := joining{
		thread:  func(int) error { return nil },
		started: func(pid int) error { return startScope(c.Unit, c.Limits, pid) },
		close:   nothingToClose,
	}
	if c.JoinsLate {
		return joined, nil
	}
	const descriptor = 9
	gate, open, err := os.Pipe()
	if err != nil {
		return joining{}, fmt.Errorf("a pipe to have the program wait: %w", err)
	}
	for len(cmd.ExtraFiles) < descriptor-3 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, nil)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, gate)
	joined.first = wait
	joined.started = func(pid int) error {
		if err := startScope(c.Unit, c.Limits, pid); err != nil {
			return err
		}
		if _, err := open.WriteString("\n"); err != nil {
			return fmt.Errorf("letting the program go on: %w", err)
		}
		return nil
	}
	joined.close = func() error { return errors.Join(gate.Close(), open.Close()) }
	return joined, nil
}

// below says whether a path is one of the directories, or in one of them.
func below(path string, dirs []string) (dir string, found bool) {
	i := slices.IndexFunc(dirs, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
	})
	if i < 0 {
		return "", false
	}
	return dirs[i], true
}
