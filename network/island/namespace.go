//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaces is where iproute2 keeps named network namespaces; `ip netns`
// shows ours beside its own.
const namespaces = "/run/netns"

func namespacePath(name string) string { return filepath.Join(namespaces, name) }

// shareNamespaces makes the directory a shared mount, as iproute2 does, so
// that namespaces removed here go away in every other mount namespace too.
// The lock keeps two processes, or iproute2, from stacking mounts.
func shareNamespaces(ctx context.Context) error {
	if err := os.MkdirAll(namespaces, 0o755); err != nil {
		return fmt.Errorf("making the directory of network namespaces: %w", err)
	}
	lock, err := lockDirectory(ctx, namespaces)
	if err != nil {
		return err
	}
	defer lock.Release()
	err = makeShared()
	if errors.Is(err, unix.EINVAL) { // it is not a mount point yet
		if err := unix.Mount(namespaces, namespaces, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making %s a mount point: %w", namespaces, err)
		}
		err = makeShared()
	}
	if err != nil {
		return fmt.Errorf("sharing mounts below %s: %w", namespaces, err)
	}
	return nil
}

func makeShared() error {
	return unix.Mount("", namespaces, "", unix.MS_SHARED|unix.MS_REC, "")
}

// claimNamespace makes the file that a namespace is mounted on. Only one
// caller can, and from then on the lease can be found by its name.
func claimNamespace(name string) error {
	f, err := os.OpenFile(namespacePath(name), os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("claiming a network namespace: %w", err)
	}
	return f.Close()
}

// makeNamespace mounts a new network namespace on the claimed file and runs
// furnish in it.
func makeNamespace(name string, furnish func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making network namespace %s: %w", name, err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", namespacePath(name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting network namespace %s: %w", name, err)
		}
		return furnish()
	})
}

func removeNamespace(name string) error {
	err := unix.Unmount(namespacePath(name), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmounting network namespace %s: %w", name, err)
	}
	if err := os.Remove(namespacePath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing network namespace %s: %w", name, err)
	}
	return nil
}

func listNamespaces() ([]string, error) {
	entries, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// errEntering is in errors of Do that f has no part in.
var errEntering = errors.New("entering network namespace")

// Do runs f on a thread inside the network namespace at the path. Goroutines
// that f starts are outside.
func Do(namespacePath string, f func() error) error {
	ns, err := netns.GetFromPath(namespacePath)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errEntering, namespacePath, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("%w %s: %w", errEntering, namespacePath, err)
		}
		return f()
	})
}

// onThread runs f on a thread whose network namespace f may change. A thread
// that cannot be brought back stays locked and ends with its goroutine, so that
// no other goroutine ever runs in a namespace by accident.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("ended in the midst of it") // as the goroutine of a failing test does
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, failed := netns.Get()
		if failed != nil {
			err = fmt.Errorf("opening the thread's own network namespace: %w", failed)
			return
		}
		defer home.Close()
		err = f()
		if failed := netns.Set(home); failed != nil {
			err = errors.Join(err, fmt.Errorf("leaving the network namespace: %w", failed))
			return
		}
		runtime.UnlockOSThread()
	}()
	return <-done
}
