package initrd_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/initrd"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, func() func() { return func() {} })) }

// TestBoot boots what the golden image of the run was made of: a root from
// packages, on a disk, with an initrd.
func TestBoot(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "mount", "chroot")
	if runtime.GOARCH != "amd64" {
		need.Other(t, "starts qemu-system-x86_64")
	}
	images := filepath.Join(t.TempDir(), "images")
	golden := image.Golden{Dir: filepath.Join(images, testrun.Golden(t, images).Digest())}
	root := testrun.Root(t)
	t.Run("root holds nothing of the host", func(t *testing.T) { checkRoot(t, root) })
	t.Run("packages can be installed without an update", func(t *testing.T) { checkLists(t, root) })
	t.Run("an initrd can still be made in the guest", func(t *testing.T) { checkUpdateInitramfs(t, root) })
	t.Run("the initrd is the one of the root", func(t *testing.T) {
		_, ramdisk, err := initrd.FromRoot(root)
		require.NoError(t, err)
		made, err := os.ReadFile(golden.Initrd())
		require.NoError(t, err)
		require.Equal(t, ramdisk, made)
	})

	m := machine{golden, testrun.Patience(t)}
	t.Run("reaches systemd by label", func(t *testing.T) {
		out := m.boot(t, "root=LABEL=root rootflags=noatime rw systemd.unit=systemd-poweroff.service")
		require.Contains(t, out, "Welcome to")
		require.NotContains(t, out, "mayfly-initrd:")
	})
	t.Run("hands over to init= by device", func(t *testing.T) {
		out := m.boot(t, "root=/dev/vda ro init=/bin/busybox quiet")
		require.Contains(t, out, "BusyBox v", "busybox lists what it can do when it is started so")
	})
	t.Run("powers off when there is no root", func(t *testing.T) {
		out := m.boot(t, "root=LABEL=missing quiet")
		require.Contains(t, out, "mayfly-initrd: root device LABEL=missing did not appear")
	})
}

func checkRoot(t *testing.T, root string) {
	for _, gone := range []string{"etc/apt/apt.conf.d/99mmdebstrap", "etc/ssh/ssh_host_ed25519_key"} {
		_, err := os.Lstat(filepath.Join(root, gone))
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	host, err := os.Hostname()
	require.NoError(t, err)
	theirs, err := os.ReadFile("/etc/resolv.conf")
	require.NoError(t, err)
	ours, err := os.ReadFile(filepath.Join(root, "etc/resolv.conf"))
	require.NoError(t, err)
	require.NotEqual(t, string(theirs), string(ours))
	for _, path := range []string{"etc/hostname", "etc/hosts"} {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.NotContains(t, string(text), host)
	}
	initrds, err := filepath.Glob(filepath.Join(root, "boot", "initrd.img-*"))
	require.NoError(t, err)
	require.Empty(t, initrds)
	require.FileExists(t, filepath.Join(root, "usr/share/doc/bash/copyright"))
	sources, err := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d/*.sources"))
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	info, err := os.Stat(sources[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "users of the guest cannot read its package sources")
}

func checkLists(t *testing.T, root string) {
	out, err := exec.Command("chroot", root, "apt-get", "install", "--simulate", "shellcheck").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Inst shellcheck")
	packages, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	require.NoError(t, err)
	require.Empty(t, packages)
}

func checkUpdateInitramfs(t *testing.T, root string) {
	out, err := exec.Command("chroot", root, "update-initramfs", "-c", "-k", "all").CombinedOutput()
	require.NoError(t, err, "%s", out)
	initrds, err := filepath.Glob(filepath.Join(root, "boot", "initrd.img-*"))
	require.NoError(t, err)
	require.Len(t, initrds, 1)
	require.NoError(t, os.Remove(initrds[0]))
}

type machine struct {
	image.Golden
	patience time.Duration
}

// boot runs the machine, by emulation, until it ends itself, and returns what
// its console said. no_timer_check keeps an emulated timer that comes late on
// a busy host from being a panic.
func (m machine) boot(t *testing.T, cmdline string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), m.patience)
	defer cancel()
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "512",
		"-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
		"-kernel", m.Kernel(), "-initrd", m.Initrd(), "-append", "console=ttyS0 no_timer_check panic=-1 "+cmdline,
		"-drive", "file="+m.Disk()+",if=virtio,format=raw,snapshot=on")
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	require.NoError(t, err, "%s", text)
	t.Logf("booted and ended in %v", time.Since(begun))
	return text
}
