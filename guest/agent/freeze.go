//go:build linux

package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// errThawed says that what the host has copied may be of two moments.
var errThawed = fmt.Errorf("the guest went on by itself, after %s", guest.FreezeLimit)

// freeze keeps everything but the agent from writing to the disk, on which all is that
// was written. It ends by itself after guest.FreezeLimit: a host that is gone must not
// leave a guest that never ends.
func (a *agent) freeze() error {
	if a.frozen != nil {
		return errors.New("the guest is frozen already")
	}
	thaw, err := a.kernel.Freeze()
	if err != nil {
		return err
	}
	a.frozen = &frozen{thaw: thaw}
	a.frozen.limit = time.AfterFunc(guest.FreezeLimit, func() {
		if err := thaw(); err != nil {
			a.log.Error("thawing by itself", "error", err)
		}
	})
	return nil
}

// frozen is how a freeze ends: by its limit, or by thaw.
type frozen struct {
	limit *time.Timer
	thaw  func() error
}

// thaw ends a freeze. An error says that it may have ended before.
func (a *agent) thaw() error {
	if a.frozen == nil {
		return errors.New("the guest is not frozen")
	}
	f := a.frozen
	a.frozen = nil
	if !f.limit.Stop() {
		return errThawed
	}
	return f.thaw()
}

// Requests of ioctl(2) to a file system, of linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// Freeze freezes the file systems that are on disks, the one that was mounted last
// first: it may lie in a file of another. One that cannot be frozen, such as that of a
// boot loader, is only written to its disk.
func (linux) Freeze() (thaw func() error, err error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer table.Close()
	unix.Sync()
	var all []*os.File
	thaw = func() (err error) {
		for _, dir := range slices.Backward(all) {
			err = errors.Join(err, ioctl(dir.Fd(), fiThaw, nil), dir.Close())
		}
		return err
	}
	rootToo := false
	for _, point := range slices.Backward(onDisks(table)) {
		dir, err := os.Open(point)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("freezing %s: %w", point, err), thaw())
		}
		err = ioctl(dir.Fd(), fiFreeze, nil)
		switch {
		case err == nil:
			all = append(all, dir)
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EBUSY):
			_ = dir.Close() // it cannot, or is frozen by another of its names
		default:
			return nil, errors.Join(fmt.Errorf("freezing %s: %w", point, err), dir.Close(), thaw())
		}
		rootToo = rootToo || point == "/" && (err == nil || errors.Is(err, unix.EBUSY))
	}
	if !rootToo {
		return nil, errors.Join(errors.New("the root file system cannot be frozen"), thaw())
	}
	return thaw, nil
}

// onDisks returns where the file systems are mounted that are on disks and can be
// written to, from a table as /proc/self/mountinfo has it.
func onDisks(table io.Reader) (points []string) {
	for rows := bufio.NewScanner(table); rows.Scan(); {
		mount, system, _ := strings.Cut(rows.Text(), " - ")
		left, right := strings.Fields(mount), strings.Fields(system)
		if len(left) < 6 || len(right) < 3 || !strings.HasPrefix(right[1], "/dev/") {
			continue
		}
		if writable := strings.Split(left[5], ","); slices.Contains(writable, "rw") {
			points = append(points, unescape.Replace(left[4]))
		}
	}
	return points
}

// unescape undoes what the kernel does to names in its tables.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// container is the kernel for an agent that the host has started in a container. The
// disk there is the host's.
type container struct{ linux }

// Freeze stops the other processes of the container, but for the first, which runs
// nothing of its own.
func (container) Freeze() (thaw func() error, err error) {
	if err := signalOthers(unix.SIGSTOP); err != nil {
		return nil, err
	}
	return func() error { return signalOthers(unix.SIGCONT) }, nil
}

// signalOthers signals all processes of the container but the first and this one.
func signalOthers(signal unix.Signal) error {
	if os.Getpid() == 1 {
		return errors.New("the agent is the container's first process, and cannot tell it from others")
	}
	if err := unix.Kill(-1, signal); err != nil && !errors.Is(err, unix.ESRCH) { // there is none
		return fmt.Errorf("sending %s to the other processes of the container: %w", signal, err)
	}
	return nil
}
