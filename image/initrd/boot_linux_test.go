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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/initrd"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
)

// TestBoot is the one test of the whole way: packages to a root, to a disk and
// an initrd, to a machine that runs. It takes about a minute.
func TestBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a whole system")
	}
	if runtime.GOARCH != "amd64" {
		skip(t, "starts qemu-system-x86_64")
	}
	if os.Geteuid() != 0 {
		skip(t, "mmdebstrap needs root here")
	}
	for _, tool := range []string{"mmdebstrap", "mkfs.ext4", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, "needs "+tool)
		}
	}
	dir := t.TempDir()
	root := filepath.Join(dir, source.RootDir)
	begun := time.Now()
	require.NoError(t, source.Debootstrap{}.Make(t.Context(), image.Recipe{}, dir, func(line string) { t.Log(line) }))
	t.Logf("root file system: %v", time.Since(begun))

	t.Run("root holds nothing of the host", func(t *testing.T) { checkRoot(t, dir, root) })
	t.Run("packages can be installed without an update", func(t *testing.T) { checkLists(t, root) })
	t.Run("an initrd can still be made in the guest", func(t *testing.T) { checkUpdateInitramfs(t, root) })

	m := machine{disk: filepath.Join(dir, "disk.raw"), initrd: filepath.Join(dir, "initrd")}
	require.NoError(t, disk.FromDirectory(t.Context(), root, m.disk, 4<<30, "mayfly"))
	kernel, ramdisk, err := initrd.FromRoot(root)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(m.initrd, ramdisk, 0o600))
	m.kernel = kernel
	t.Logf("initrd: %d bytes", len(ramdisk))

	t.Run("reaches systemd by label", func(t *testing.T) {
		out := m.boot(t, "root=LABEL=mayfly rootflags=noatime rw systemd.unit=systemd-poweroff.service")
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

func checkRoot(t *testing.T, dir, root string) {
	for _, gone := range []string{"etc/hostname", "etc/resolv.conf", "etc/apt/apt.conf.d/99mmdebstrap"} {
		_, err := os.Lstat(filepath.Join(root, gone))
		require.ErrorIs(t, err, os.ErrNotExist)
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
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "something is left beside the root")
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

type machine struct{ disk, kernel, initrd string }

// boot runs the machine, by emulation, until it ends itself, and returns what
// its console said. no_timer_check keeps an emulated timer that comes late on
// a busy host from being a panic.
func (m machine) boot(t *testing.T, cmdline string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "512",
		"-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
		"-kernel", m.kernel, "-initrd", m.initrd, "-append", "console=ttyS0 no_timer_check panic=-1 "+cmdline,
		"-drive", "file="+m.disk+",if=virtio,format=raw,snapshot=on")
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	require.NoError(t, err, "%s", text)
	t.Logf("booted and ended in %v", time.Since(begun))
	return text
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
