package tart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

var _ foreigntool.Tool = tool{}

// dir is where Tart keeps a machine.
func (t tool) dir(name string) string { return filepath.Join(t.home, "vms", name) }

func (t tool) exists(name string) bool {
	_, err := os.Lstat(t.dir(name))
	return err == nil
}

// Exists says whether there is a machine of that name.
func (t tool) Exists(_ context.Context, name string) (bool, error) { return t.exists(name), nil }

// Rename needs a machine that does not run, and no other of the new name.
func (t tool) Rename(ctx context.Context, id, golden string) error {
	_, err := t.do(ctx, nil, "rename", id, golden)
	return err
}

// Remove deletes a machine that may run, or may not exist.
func (t tool) Remove(ctx context.Context, name string) error {
	if !t.exists(name) {
		return nil
	}
	pid, err := t.pid(name)
	if err != nil {
		return err
	}
	if pid != 0 {
		_, err := t.do(ctx, nil, stopArguments(name)...)
		if err != nil && !errors.Is(err, errNotRunning) && !errors.Is(err, errNotExist) {
			return err
		}
	}
	if _, err := t.do(ctx, nil, "delete", name); err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	// Tart does not know, and so does not delete, a machine that is only half made.
	if err := os.RemoveAll(t.dir(name)); err != nil {
		return fmt.Errorf("removing machine %s: %w", name, err)
	}
	return nil
}

// pid is the process that runs a machine, and 0 when none does: the one that
// holds a lock on the machine's config.json. A pid from a file could be that of
// another process by now.
func (t tool) pid(name string) (int, error) {
	file, err := os.Open(filepath.Join(t.dir(name), "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking whether %s runs: %w", name, err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("asking whether %s runs: %w", name, err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

// States of a machine.
const suspended = "suspended"

// listed is what counts of an entry of tart list.
type listed struct{ Source, Name, State string }

// list returns Tart's machines, source being local or oci. A machine that goes
// meanwhile may make the whole list fail, so it is asked for twice.
func (t tool) list(ctx context.Context, source string) (all []listed, err error) {
	err = t.ask(ctx, &all, "list", "--source", source)
	if err != nil && ctx.Err() == nil {
		err = t.ask(ctx, &all, "list", "--source", source)
	}
	return all, err
}

// details is what counts of tart get.
type details struct {
	OS    string
	Disk  int // of 10^9 bytes
	State string
}

func (t tool) get(ctx context.Context, name string) (d details, err error) {
	err = t.ask(ctx, &d, "get", name)
	return d, err
}

// ask has Tart answer in JSON.
func (t tool) ask(ctx context.Context, answer any, args ...string) error {
	text, err := t.do(ctx, nil, append(args, "--format", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		return fmt.Errorf("reading tart %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// gone is why a machine that this process did not start has ended.
func (t tool) gone(name string) error {
	if pid, err := t.pid(name); err == nil && pid != 0 {
		return nil
	}
	return fmt.Errorf("%w: no process runs it", guest.ErrGone)
}
