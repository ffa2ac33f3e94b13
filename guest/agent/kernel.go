//go:build linux

package agent

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// kernel is how the agent changes the running kernel.
type kernel interface {
	// Reseed adds entropy and makes the random number generator use it at once.
	Reseed(entropy []byte) error
	SetTime(now time.Time) error
	SetHostname(name string) error
	// SetUpNetwork gives the guest the network that every guest has. It may be
	// called again.
	SetUpNetwork() error
	// LeaveNetwork undoes SetUpNetwork, but for loopback, and ends the TCP
	// connections that lead outside.
	LeaveNetwork() error
	// FitNetwork changes that network to this worker's link. It may be called
	// again, also with another link.
	FitNetwork(link guest.Link) error
	// RestartResolver has systemd's resolver read its settings again, if it runs by now.
	RestartResolver() error
	// Freeze keeps everything but the agent from writing to the disk, until thaw is
	// called, once.
	Freeze() (thaw func() error, err error)
}

// linux is the kernel that the agent runs on.
type linux struct{}

var _ kernel = linux{}

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	entropyBits int32
	size        int32
	data        [512]byte
}

// Reseed credits the bytes and forces a reseed. Without the reseed all forks of
// one template would go on with one key, and draw the same numbers.
func (linux) Reseed(entropy []byte) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	info := poolInfo{entropyBits: int32(len(entropy) * 8), size: int32(len(entropy))}
	if copied := copy(info.data[:], entropy); copied < len(entropy) {
		return fmt.Errorf("%d bytes of entropy, at most %d fit", len(entropy), len(info.data))
	}
	if err := ioctl(random.Fd(), unix.RNDADDENTROPY, unsafe.Pointer(&info)); err != nil {
		return fmt.Errorf("RNDADDENTROPY: %w", err)
	}
	if err := ioctl(random.Fd(), unix.RNDRESEEDCRNG, nil); err != nil {
		return fmt.Errorf("RNDRESEEDCRNG: %w", err)
	}
	return nil
}

func ioctl(fd uintptr, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// SetTime steps the clock.
func (linux) SetTime(now time.Time) error {
	spec := unix.NsecToTimespec(now.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &spec)
}

// SetHostname sets the running kernel's host name.
func (linux) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }
