package bhyve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// places are where FreeBSD has the programs that are run: rules of sudo name
// them by their whole paths.
var places = map[string]string{
	"vm": "/usr/local/sbin/vm", "sysrc": "/usr/sbin/sysrc", "bhyvectl": "/usr/sbin/bhyvectl", "rm": "/bin/rm",
	"arp": "/usr/sbin/arp", "zfs": "/sbin/zfs", "pkg": "/usr/sbin/pkg",
}

var _ foreigntool.Tool = (*host)(nil)

// host is the FreeBSD that the guests run on.
type host struct {
	// prefix stands before a command that is to run as root, such as sudo -n.
	prefix []string
	// devices is where the kernel shows guests that exist, /dev/vmm.
	devices string
	// goneLimit is the constant of that name; tests shorten it.
	goneLimit time.Duration

	mu  sync.Mutex
	dir string // of the guests, once it is known
}

// prefixes are what may stand before commands, by what the configuration calls
// them.
var prefixes = map[string][]string{"": nil, "sudo": {"sudo", "-n"}, "doas": {"doas", "-n"}}

// path is the whole path of a program.
func path(name string) string {
	if found, err := programs.Find(name); err == nil {
		return found
	}
	return places[name]
}

// run runs a program that needs no privilege.
func (h *host) run(ctx context.Context, name string, args ...string) (string, error) {
	return execute(ctx, nil, append([]string{path(name)}, args...))
}

// root runs a program as root.
func (h *host) root(ctx context.Context, name string, args ...string) error {
	return h.show(ctx, nil, name, args...)
}

// show is root with the output shown.
func (h *host) show(ctx context.Context, output io.Writer, name string, args ...string) error {
	command := append([]string{path(name)}, args...)
	_, err := execute(ctx, output, append(h.prefix[:len(h.prefix):len(h.prefix)], command...))
	return err
}

// wholeLimit bounds commands that must not be ended half-way.
const wholeLimit = 2 * time.Minute

// whole is root for commands that leave half of something when they are
// cancelled: one is not begun when ctx has ended, and once begun it is not
// cancelled.
func (h *host) whole(ctx context.Context, name string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholeLimit)
	defer cancel()
	return h.root(ctx, name, args...)
}

// execute runs a program to its end. Its error has both outputs, since vm-bhyve
// says on either what went wrong.
func execute(ctx context.Context, show io.Writer, command []string) (string, error) {
	run := foreigntool.Command{Line: command, Stop: syscall.SIGTERM, Grace: 3 * time.Second}
	stdout, stderr, err := run.Run(ctx, show)
	if err == nil {
		return stdout, nil
	}
	if said := foreigntool.LastLines(stdout + stderr); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return stdout, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
}

var errNoDirectory = errors.New("vm_dir is not set in rc.conf")

// directory is where vm-bhyve keeps its guests: rc.conf names a dataset.
func (h *host) directory(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dir != "" {
		return h.dir, nil
	}
	named, err := h.run(ctx, "sysrc", "-n", "vm_dir")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoDirectory, err)
	}
	dataset, zfs := strings.CutPrefix(strings.TrimSpace(named), "zfs:")
	if !zfs {
		return "", fmt.Errorf(`vm_dir is %s, and guests are cloned on ZFS only: set vm_dir="zfs:POOL/DATASET"`, dataset)
	}
	mounted, err := h.run(ctx, "zfs", "get", "-H", "-o", "value", "mountpoint", dataset)
	if err != nil {
		return "", fmt.Errorf("finding vm_dir: %w", err)
	}
	h.dir = strings.TrimSpace(mounted)
	return h.dir, nil
}

// Exists says whether vm-bhyve has a guest of that name.
func (h *host) Exists(ctx context.Context, name string) (bool, error) {
	dir, err := h.directory(ctx)
	return err == nil && exists(filepath.Join(dir, name)), err
}

// Rename also makes the snapshot that workers are cloned from. It comes last:
// clones of a snapshot that is older than its guest's name fail.
func (h *host) Rename(ctx context.Context, id, golden string) error {
	if err := h.whole(ctx, "vm", "rename", id, golden); err != nil {
		return err
	}
	return h.whole(ctx, "vm", "snapshot", golden+"@"+snapshotName)
}

// alive says whether the kernel has a guest of the name.
func (h *host) alive(name string) bool {
	_, err := os.Lstat(filepath.Join(h.devices, name))
	return err == nil
}

// watch is a guest, which lives as long as the kernel has its device.
func (h *host) watch(name string) *foreigntool.Watched {
	return foreigntool.Watch(name, func() error {
		if h.alive(name) {
			return nil
		}
		return fmt.Errorf("%w: its device is not below %s any more", guest.ErrGone, h.devices)
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
