//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
)

// Identity tells one process from every other, before and after a reboot: a
// pid alone is used again.
type Identity struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since boot, field 22 of proc_pid_stat(5).
	StartTime uint64 `json:"start_time"`
	BootID    string `json:"boot_id"`
}

// ErrNotRunning says that there is no such process any more.
var ErrNotRunning = errors.New("process is not running")

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Identity, error) {
	start, err := startTime(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := bootID()
	return Identity{PID: pid, StartTime: start, BootID: boot}, err
}

// bootID does not change while we run.
var bootID = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
})

// Running says whether that very process still runs; a zombie does not.
func (i Identity) Running() bool { return i.check() == nil }

// check returns ErrNotRunning when that very process does not run, and another
// error when that cannot be found out.
func (i Identity) check() error {
	now, err := Identify(i.PID)
	if err == nil && now != i {
		err = fmt.Errorf("pid %d is another's now: %w", i.PID, ErrNotRunning)
	}
	return err
}

func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("pid %d: %w", pid, gone(err))
	}
	// The name of the program, in brackets, may hold spaces and brackets.
	_, rest, found := strings.Cut(string(stat[max(bytes.LastIndexByte(stat, ')'), 0):]), ") ")
	fields := strings.Fields(rest)
	const state, start = 0, 19 // fields 3 and 22, counted from the state
	if !found || len(fields) <= start {
		return 0, fmt.Errorf("pid %d: malformed stat", pid)
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return 0, fmt.Errorf("pid %d: %w", pid, ErrNotRunning)
	}
	return strconv.ParseUint(fields[start], 10, 64)
}

// Find returns the processes of our own user, and of the users that machines have,
// whose arguments match, with those arguments. Others do not count: anybody may
// give a process any arguments.
func Find(match func(arguments []string) bool) (map[Identity][]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	found := map[Identity][]string{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		id, arguments, err := look(pid)
		switch {
		case errors.Is(err, ErrNotRunning): // ended meanwhile
		case err != nil:
			return nil, fmt.Errorf("looking at process %d: %w", pid, err)
		case len(arguments) > 0 && match(arguments):
			found[id] = arguments
		}
	}
	return found, nil
}

// look returns no arguments for a thread of the kernel, and for a process of
// another user: what such a one has for arguments is not even read.
func look(pid int) (id Identity, arguments []string, err error) {
	if id, err = Identify(pid); err != nil {
		return id, nil, err
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	var owner unix.Stat_t
	if err := unix.Stat(dir, &owner); err != nil {
		return id, nil, gone(err)
	}
	if int(owner.Uid) != os.Geteuid() && !user.Ours(int(owner.Uid)) {
		return id, nil, nil
	}
	arguments, err = readArguments(filepath.Join(dir, "cmdline"))
	return id, arguments, gone(err)
}

// mostArguments bounds what is read of a process's arguments, in bytes. Those of ours
// have some KiB; a machine that was taken over can make its own as large as its memory.
const mostArguments = 128 << 10

// readArguments reads the arguments that end within mostArguments.
func readArguments(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, mostArguments))
	if err != nil || len(text) == 0 {
		return nil, err
	}
	whole := text[:bytes.LastIndexByte(text, 0)+1]
	if len(text) < mostArguments {
		whole = text
	}
	return strings.Split(strings.TrimSuffix(string(whole), "\x00"), "\x00"), nil
}

// gone is ErrNotRunning for the errors with which proc(5) says so.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	return err
}
