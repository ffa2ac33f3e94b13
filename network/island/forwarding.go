//go:build linux

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

// setIPv6 keeps IPv6 off a link, or only what others announce there.
func setIPv6(link string, on bool) error {
	if !on {
		return disableIPv6(link)
	}
	return setSysctl("0", "ipv6", "conf", link, "accept_ra")
}

// gate is a link that is to forward a protocol.
type gate struct {
	link, protocol string
	isOpen         func(link string) (bool, error)
	open           func(ctx context.Context, link string) error
}

func (g gate) String() string { return g.link + " (" + g.protocol + ")" }

// mend opens a gate that is closed.
func (g gate) mend(ctx context.Context) (mended bool, err error) {
	open, err := g.isOpen(g.link)
	if err != nil || open {
		return false, err
	}
	err = g.open(ctx, g.link)
	return err == nil, err
}

// gates are the links of leases and the ways out.
func (i *Island) gates(leases []string, ways ways) []gate {
	var all []gate
	for _, link := range leases {
		all = append(all, gate{link, "IPv4", forwards, forward})
	}
	for _, link := range ways.ipv4 {
		all = append(all, gate{link, "IPv4", forwards, forwardEgress})
	}
	if i.options.IPv6.On {
		for _, link := range slices.Concat(leases, ways.ipv6) {
			all = append(all, gate{link, "IPv6", forwards6, forward6})
		}
	}
	return all
}

// forwardLease has the host forward packets of a lease's link and the answers to
// them.
func (i *Island) forwardLease(ctx context.Context, name string, ways ways) error {
	var errs []error
	for _, g := range i.gates([]string{name}, ways) {
		_, err := g.mend(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forwardAgain has all links forward that leases need, and says which of them did
// not. A link that is gone needs nothing: it is heard of when it comes back.
func (i *Island) forwardAgain(ctx context.Context) error {
	leases := i.leases.names()
	if len(leases) == 0 {
		return nil
	}
	exit, err := i.egress()
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ways, err := i.ways(exit)
	if err != nil {
		return err
	}
	var mended []string
	var errs []error
	for _, g := range i.gates(leases, ways) {
		isMended, err := g.mend(ctx)
		if isMended {
			mended = append(mended, g.String())
		}
		if errors.Is(err, fs.ErrNotExist) {
			if _, missing := linkByName(g.link); isGone(missing) {
				continue
			}
		}
		errs = append(errs, err)
	}
	if len(mended) > 0 {
		i.log.Warn("forwarding was off on links, without which workers reach nothing: it is on again",
			"links", mended)
	}
	return errors.Join(errs...)
}

// forwards says whether packets that come in by the link travel on.
func forwards(link string) (bool, error) { return isSet("conf", link, "forwarding") }

// forward lets packets that come in by the link travel on: the setting of one
// link, never the host's global one, which is the administrator's.
func forward(_ context.Context, link string) error {
	return setSysctl("1", "ipv4", "conf", link, "forwarding")
}

// routing turns a namespace of ours into a router, as a whole.
func routing() error { return setSysctl("1", "ipv4", "ip_forward") }

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
func forwardEgress(ctx context.Context, link string) error {
	dir, err := notes()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of notes on forwarding: %w", err)
	}
	lock, err := lockDirectory(ctx, dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	on, err := forwards(link)
	if err != nil || on {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, link), nil, 0o600); err != nil {
		return fmt.Errorf("noting that %s did not forward: %w", link, err)
	}
	return forward(ctx, link)
}

// restoreForwarding undoes forwardEgress once no pool has a lease any more. A
// host that has become a router meanwhile, by its global setting, stays one.
func restoreForwarding(ctx context.Context) error {
	dir, err := notes()
	if err != nil {
		return err
	}
	lock, err := lockDirectory(ctx, dir)
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

func lockDirectory(ctx context.Context, path string) (*filelock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	return filelock.AcquireDirectory(ctx, path)
}

// forward6 lets IPv6 packets that come in by the link travel on. Since Linux
// 6.17 there is a setting for one link; before, the host as a whole becomes a
// router.
func forward6(_ context.Context, link string) error {
	byLink, err := forwards6ByLink()
	if err != nil {
		return err
	}
	if !byLink {
		return routing6()
	}
	return setSysctl("1", "ipv6", "conf", link, "force_forwarding")
}

// forwards6ByLink says whether links have a setting of their own. That one of them
// has none may also mean that it is gone.
func forwards6ByLink() (bool, error) {
	_, err := readSysctl("ipv6", "conf", "all", "force_forwarding")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// forwards6 says whether IPv6 packets that come in by the link travel on.
func forwards6(link string) (bool, error) {
	setting := []string{"ipv6", "conf", "all", "forwarding"}
	byLink, err := forwards6ByLink()
	if err != nil {
		return false, err
	}
	if byLink {
		setting = []string{"ipv6", "conf", link, "force_forwarding"}
	}
	on, err := readSysctl(setting...)
	return on == "1", err
}

// Values of accept_ra, from the kernel's ip-sysctl.
const (
	acceptUnlessRouter = "1"
	acceptAlways       = "2"
)

// routing6 turns a network namespace into a router. A router ignores the
// advertisements that the namespace has its own routes from, so that its links
// are set to accept them always; a link that never did stays as it is.
func routing6() error {
	on, err := readSysctl("ipv6", "conf", "all", "forwarding")
	if err != nil || on == "1" {
		return err
	}
	links, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("listing the links with IPv6: %w", err)
	}
	for _, link := range links {
		accept, err := readSysctl("ipv6", "conf", link.Name(), "accept_ra")
		if err == nil && accept == acceptUnlessRouter {
			err = setSysctl(acceptAlways, "ipv6", "conf", link.Name(), "accept_ra")
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link may have gone
			return err
		}
	}
	return setSysctl("1", "ipv6", "conf", "all", "forwarding")
}

// disableIPv6 does so on one link, or on all and default. A kernel without
// IPv6 needs nothing.
func disableIPv6(link string) error {
	err := setSysctl("1", "ipv6", "conf", link, "disable_ipv6")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// setSysctl writes a setting below /proc/sys/net, of the calling thread's
// network namespace. Path elements are separate since an interface name may
// hold dots.
func setSysctl(value string, path ...string) error {
	file := filepath.Join(append([]string{"/proc/sys/net"}, path...)...)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("setting %s to %s: %w", file, value, err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("setting %s to %s: %w", file, value, err)
	}
	return nil
}

// readSysctl reads a setting below /proc/sys/net.
func readSysctl(path ...string) (string, error) {
	file := filepath.Join(append([]string{"/proc/sys/net"}, path...)...)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// isSet reads a setting of IPv4 that is on or off.
func isSet(path ...string) (bool, error) {
	text, err := readSysctl(append([]string{"ipv4"}, path...)...)
	return text == "1", err
}
