//go:build linux

package debootstrap

import (
	"cmp"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap/apt"
)

// basePackages are what the instance executor needs in a guest, and what jobs expect of
// any machine: files that git keeps elsewhere, and services of their user.
var basePackages = []string{
	"bash", "ca-certificates", "curl", "dbus-user-session", "git", "git-lfs",
	"iproute2", "libpam-systemd", "openssh-server", "procps", "sudo", "systemd-sysv",
}

// bootPackages are what a virtual machine boots with beside its kernel:
// cloud-init for the prebuild, and busybox for our initrd.
var bootPackages = []string{"busybox-static", "cloud-init", "kmod", "udev"}

// kernelPackage is the package of the kernel whose drivers are for virtual
// machines only.
func kernelPackage(distribution, arch string) (string, error) {
	if arch != "amd64" && arch != "arm64" {
		return "", fmt.Errorf("no kernel is known for machines of architecture %s", arch)
	}
	switch distribution {
	case apt.Debian:
		return "linux-image-cloud-" + arch, nil
	case apt.Ubuntu:
		return "linux-image-virtual", nil
	}
	return "", fmt.Errorf("no kernel is known for %s", distribution)
}

// dpkgOptions stay in the image, so that packages that the prebuild and jobs
// install are small and quickly installed, too. Copyright files must stay with
// what they cover.
var dpkgOptions = []string{
	"path-exclude=/usr/share/man/*",
	"path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/doc/*",
	"path-include=/usr/share/doc/*/copyright",
	"path-exclude=/usr/share/locale/*",
	"path-include=/usr/share/locale/locale.alias",
	"path-include=/usr/share/locale/en*",
	"path-include=/usr/share/locale/C*",
	"force-unsafe-io",
}

// customizeHooks remove what mmdebstrap has copied from the host: how its
// mirrors are reached, its name and its resolver.
var customizeHooks = []string{
	`rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"`,
	`rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`,
}

// mmdebstrap returns the arguments that make the root file system.
func mmdebstrap(source image.Source, suite, root, packages, sourcesFile, transportFile string) []string {
	args := []string{
		"--mode=root", "--variant=" + cmp.Or(source.Variant, "minbase"), "--format=directory",
		"--skip=cleanup/apt/lists", // a step installs packages without an update
		"--include=" + packages,
	}
	for _, option := range dpkgOptions {
		args = append(args, "--dpkgopt="+option)
	}
	if source.Keyring != "" {
		args = append(args, "--keyring="+source.Keyring)
	}
	args = append(args, "--aptopt="+transportFile)
	// Below a directory that only root may enter apt downloads as root anyway,
	// but with a warning that looks like something to mend.
	args = append(args, `--aptopt=APT::Sandbox::User "root"`)
	for _, hook := range customizeHooks {
		args = append(args, "--customize-hook="+hook)
	}
	return append(args, "--", suite, root, sourcesFile)
}
