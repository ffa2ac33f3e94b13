package island

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// forwardingNotes has a directory for each network namespace that pools are
// opened in, which on most hosts is one. That holds an empty file for each
// interface that forwarded nothing before we had it do so. It is lost with the
// host's uptime, as the setting is, and flocked while either is changed.
const forwardingNotes = "/run/mayfly/forwarding"

// notes is the directory of the thread's own network namespace.
func notes() (string, error) {
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &namespace); err != nil {
		return "", fmt.Errorf("asking for our network namespace: %w", err)
	}
	return filepath.Join(forwardingNotes, strconv.FormatUint(namespace.Ino, 10)), nil
}

// forwardEgress has the way out forward, and notes when it did not. The caller
// has a link on the host already: that keeps others from undoing this.
func forwardEgress(link string) error {
	dir, err := notes()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of notes on forwarding: %w", err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	on, err := isSet("conf", link, "forwarding")
	if err != nil || on {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, link), nil, 0o600); err != nil {
		return fmt.Errorf("noting that %s did not forward: %w", link, err)
	}
	return forward(link)
}

// restoreForwarding undoes forwardEgress once no pool has a lease any more. A
// host that has become a router meanwhile, by its global setting, stays one.
func restoreForwarding() error {
	dir, err := notes()
	if err != nil {
		return err
	}
	lock, err := lockDirectory(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was noted
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	links, err := linkNames()
	if err != nil {
		return err
	}
	isLease := func(link string) bool { return strings.HasPrefix(link, firewall.LinkPrefix) }
	if slices.ContainsFunc(slices.Collect(maps.Values(links)), isLease) {
		return nil
	}
	router, err := isSet("ip_forward")
	if err != nil {
		return err
	}
	noted, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the notes on forwarding: %w", err)
	}
	var errs []error
	for _, note := range noted {
		errs = append(errs, restore(filepath.Join(dir, note.Name()), router))
	}
	return errors.Join(errs...)
}

// restore switches forwarding by one link off unless the host is a router, and
// drops the note. The link may be gone.
func restore(note string, router bool) error {
	if !router {
		err := setSysctl("0", "ipv4", "conf", filepath.Base(note), "forwarding")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(note); err != nil {
		return fmt.Errorf("dropping the note on forwarding: %w", err)
	}
	return nil
}

// lockLimit bounds the wait for a lock that is held for a moment only.
const lockLimit = time.Minute

func lockDirectory(path string) (*filelock.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockLimit)
	defer cancel()
	return filelock.AcquireDirectory(ctx, path)
}
