package programs

// Table has every program that Mayfly and its tests start. A test holds it: see
// test/architecture.
var Table = []Program{
	// Workers on QEMU.
	{Name: "qemu-system-x86_64", Package: "qemu-system-x86", Use: Run, Arch: "amd64"},
	{Name: "qemu-system-aarch64", Package: "qemu-system-arm", Use: Run, Arch: "arm64"},
	{Name: "qemu-img", Package: "qemu-utils", Use: Run, Elsewhere: "pkg install qemu-tools"},
	{Name: "mmdebstrap", Package: "mmdebstrap", Use: Run},
	{Name: "mkfs.ext4", Package: "e2fsprogs", Use: Run},
	{Name: "xz", Package: "xz-utils", Use: Run},
	{File: "/usr/share/doc/busybox-static/copyright", Package: "busybox-static", Use: Run},

	// The tests.
	{Name: "gcc", Package: "gcc", Use: Test}, // the race detector wants cgo
	{File: "/usr/include/stdio.h", Package: "libc6-dev", Use: Test},
	{Name: "nft", Package: "nftables", Use: Test},
	{Name: "ip", Package: "iproute2", Use: Test},
	// Firewalls of others. Neither is switched on.
	{Name: "iptables", Package: "iptables", Use: Test},
	{Name: "ip6tables", Package: "iptables", Use: Test},
	{Name: "iptables-nft", Package: "iptables", Use: Test},
	{Name: "iptables-legacy", Package: "iptables", Use: Test},
	{Name: "ip6tables-legacy", Package: "iptables", Use: Test},
	{Name: "ufw", Package: "ufw", Use: Test},
	// File systems, disks, volumes, and what looks into them.
	{Name: "mkfs.xfs", Package: "xfsprogs", Use: Test},
	{Name: "mkfs.btrfs", Package: "btrfs-progs", Use: Test},
	{Name: "btrfs", Package: "btrfs-progs", Use: Test},
	{Name: "debugfs", Package: "e2fsprogs", Use: Test},
	{Name: "e2fsck", Package: "e2fsprogs", Use: Test},
	{Name: "qemu-io", Package: "qemu-utils", Use: Test},
	{Name: "xorriso", Package: "xorriso", Use: Test},
	// A boot loader for an image of a whole disk, which is made on amd64 only.
	{Name: "grub-mkimage", Package: "grub-common", Use: Test, Arch: "amd64"},
	{File: "/usr/lib/grub/i386-pc/boot.img", Package: "grub-pc-bin", Use: Test, Arch: "amd64"},
	// Workers as containers.
	{Name: "systemd-nspawn", Package: "systemd-container", Use: Test},
	// What is released.
	{Name: "openssl", Package: "openssl", Use: Test},
	{Name: "rpm", Package: "rpm", Use: Test},
	// A real guest to log in to.
	{Name: "sshd", Package: "openssh-server", Use: Test},
	{Name: "ssh", Package: "openssh-client", Use: Test},
	{Name: "ssh-keygen", Package: "openssh-client", Use: Test},
	{Name: "sudo", Package: "sudo", Use: Test},
	// What reads the page, and the dashboard and alerts.
	{Name: "chromium-headless-shell", Package: "chromium-headless-shell", Use: Test, Elsewhere: "install Chromium, and link it by this name"},
	{Name: "promtool", Package: "prometheus", Use: Test},

	// What every Debian has, or a machine that Mayfly is built on.
	{Name: "apt-config", Package: "apt"},
	{Name: "bash", Package: "bash"},
	{Name: "chroot", Package: "coreutils"},
	{Name: "cp", Package: "coreutils"},
	{Name: "nice", Package: "coreutils"},
	{Name: "rm", Package: "coreutils"},
	{Name: "sha256sum", Package: "coreutils"},
	{Name: "sleep", Package: "coreutils"},
	{Name: "stat", Package: "coreutils"},
	{Name: "true", Package: "coreutils"},
	{Name: "sh", Package: "dash"},
	{Name: "dpkg-deb", Package: "dpkg"},
	{Name: "dpkg-query", Package: "dpkg"},
	{Name: "git", Package: "git"},
	{Name: "mount", Package: "mount"},
	{Name: "umount", Package: "mount"},
	{Name: "losetup", Package: "mount"},
	{Name: "nsenter", Package: "util-linux"},
	{Name: "setpriv", Package: "util-linux"},
	{Name: "unshare", Package: "util-linux"},
	{Name: "useradd", Package: "passwd"},
	{Name: "systemd-run", Package: "systemd"}, // where systemd runs the host
	// In guests: the agent starts these.
	{Name: "modprobe", Package: "kmod"},
	{Name: "systemctl", Package: "systemd"},

	// What is not Debian's.
	{Name: "go", Elsewhere: "see https://go.dev/doc/install"},
	{Name: "gitlab-runner", Elsewhere: "see https://docs.gitlab.com/runner/install/"},
	{Name: "cloud-hypervisor", Elsewhere: "see https://github.com/cloud-hypervisor/cloud-hypervisor/releases"},
	// Of macOS, or for it.
	{Name: "tart", Elsewhere: "brew install openai/tools/tart (or cirruslabs/cli/tart)"},
	{Name: "softnet", Elsewhere: "brew install openai/tools/softnet (or cirruslabs/cli/softnet)"},
	{Name: "sw_vers", Elsewhere: "use macOS, which has it"},
	// Of FreeBSD, or for it. Tests play them.
	{Name: "vm", Elsewhere: "pkg install vm-bhyve"},
	{Name: "arp", Elsewhere: "use FreeBSD, which has it"},
	{Name: "bhyvectl", Elsewhere: "use FreeBSD, which has it"},
	{Name: "pkg", Elsewhere: "use FreeBSD, which has it"},
	{Name: "sysrc", Elsewhere: "use FreeBSD, which has it"},
	{Name: "zfs", Elsewhere: "use FreeBSD, which has it"},
}
