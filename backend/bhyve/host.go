package bhyve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// places are where FreeBSD has the programs that are run: rules of sudo name
// them by their whole paths.
var places = map[string]string{
	"vm": "/usr/local/sbin/vm", "sysrc": "/usr/sbin/sysrc", "bhyvectl": "/usr/sbin/bhyvectl", "rm": "/bin/rm",
	"arp": "/usr/sbin/arp", "zfs": "/sbin/zfs", "pkg": "/usr/sbin/pkg",
}

// host is the FreeBSD that the guests run on.
type host struct {
	// prefix makes a command root's, such as sudo -n; empty for root itself.
	prefix []string
	// devices is where the kernel shows guests that exist, /dev/vmm.
	devices string

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

// killDelay is how long a program may take to stop when its context has ended.
const killDelay = 3 * time.Second

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

// wholeLimit bounds what must not be ended half-way.
const wholeLimit = 2 * time.Minute

// whole is root for what would leave half of something when it is cancelled:
// it is not begun when ctx has ended, and then it is let go to its end.
func (h *host) whole(ctx context.Context, name string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholeLimit)
	defer cancel()
	return h.root(ctx, name, args...)
}

// execute has the output of a program in its error: vm-bhyve says on either of
// the two what went wrong.
func execute(ctx context.Context, show io.Writer, command []string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if show != nil { // one writer for both, so that they take turns
		all := io.MultiWriter(show, &stdout)
		cmd.Stdout, cmd.Stderr = all, all
	}
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // what vm start leaves running holds no output of ours
		return stdout.String(), nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if said := strings.TrimSpace(stdout.String() + stderr.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return stdout.String(), fmt.Errorf("%s: %w", strings.Join(command, " "), err)
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
		return "", fmt.Errorf("vm_dir is %s, and guests are cloned on ZFS only: set vm_dir=\"zfs:POOL/DATASET\"", dataset)
	}
	mounted, err := h.run(ctx, "zfs", "get", "-H", "-o", "value", "mountpoint", dataset)
	if err != nil {
		return "", fmt.Errorf("finding vm_dir: %w", err)
	}
	h.dir = strings.TrimSpace(mounted)
	return h.dir, nil
}

// alive says whether the kernel has a guest of the name.
func (h *host) alive(name string) bool {
	_, err := os.Lstat(filepath.Join(h.devices, name))
	return err == nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
