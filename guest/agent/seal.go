//go:build linux

package agent

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// units are the systemd units of a golden image.
//
//go:embed units
var units embed.FS

// enabled are the units that a worker starts, and what starts them.
var enabled = map[string]string{
	"mayfly-agent.service": "sysinit.target.wants",
}

// masked are units that a worker must not start: those that would make host
// keys or take the SSH port before the agent has given the worker its
// identity, those that wait for a network that is there already, and chores
// of long-lived machines, which only slow down a machine that lives for one
// job.
var masked = []string{
	"ssh.service", "ssh.socket", "sshd.service", "sshd.socket", "sshd-keygen.target",
	"systemd-networkd-wait-online.service", "NetworkManager-wait-online.service",
	"systemd-time-wait-sync.service", "systemd-timesyncd.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer", "dnf-makecache.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "motd-news.timer",
	"systemd-random-seed.service", "systemd-machine-id-commit.service", "systemd-firstboot.service",
	"systemd-pstore.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
	"getty@tty1.service", "console-getty.service", "serial-getty@ttyS0.service", "serial-getty@ttyAMA0.service", "getty-static.service",
	// The kernel loads these by itself at first use.
	"modprobe@dm_mod.service", "modprobe@loop.service", "modprobe@fuse.service",
	"modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@configfs.service",
	"unattended-upgrades.service", "snapd.seeded.service", "fwupd-refresh.timer", "update-notifier-download.timer",
}

// leftovers are what no two machines may share, and what a prebuild leaves
// behind: host keys, seeds, cloud-init's state, logs. Directories are emptied.
var leftovers = []string{
	"etc/ssh/ssh_host_*",
	"var/lib/systemd/random-seed",
	"var/lib/systemd/credential.secret",
	"var/lib/dbus/machine-id",
	"var/lib/cloud/*",
	"var/log/*",
	"root/.ssh", "root/.bash_history", "root/.cache",
	"home/*/.ssh", "home/*/.bash_history",
	"tmp/*", "tmp/.[!.]*", "var/tmp/*",
}

// seal prepares the disk for being a golden image.
func (a *Agent) seal() error {
	if err := a.installUnits(); err != nil {
		return err
	}
	for _, unit := range masked {
		if err := a.link("/dev/null", "etc/systemd/system/"+unit); err != nil {
			return fmt.Errorf("masking %s: %w", unit, err)
		}
	}
	// A user who may log in before the boot has ended: jobs start as soon as
	// SSH answers, and must not be turned away by pam_nologin.
	if err := a.link("/dev/null", "etc/tmpfiles.d/systemd-nologin.conf"); err != nil {
		return err
	}
	// cloud-init has done its work; `cloud-init status --wait`, which users of
	// other plugins have in their configuration, then succeeds at once.
	if err := a.write("etc/cloud/cloud-init.disabled", "sealed by mayfly\n", 0o644); err != nil {
		return err
	}
	if err := a.removeLeftovers(); err != nil {
		return err
	}
	// Empty, not absent: an absent one makes systemd take this for a first
	// boot and set every unit anew.
	return a.write("etc/machine-id", "", 0o444)
}

func (a *Agent) installUnits() error {
	return fs.WalkDir(units, "units", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := units.ReadFile(path)
		if err != nil {
			return err
		}
		if err := a.write("etc/systemd/system/"+entry.Name(), string(text), 0o644); err != nil {
			return fmt.Errorf("installing %s: %w", entry.Name(), err)
		}
		wanted := filepath.Join("etc/systemd/system", enabled[entry.Name()], entry.Name())
		return a.link("../"+entry.Name(), wanted)
	})
}

func (a *Agent) removeLeftovers() error {
	var failed []error
	for _, pattern := range leftovers {
		paths, err := filepath.Glob(a.path(pattern))
		failed = append(failed, err)
		for _, path := range paths {
			failed = append(failed, empty(path))
		}
	}
	return errors.Join(failed...)
}

// empty removes a file or a tree, but keeps directories directly below
// var/log and their owners: daemons expect theirs to be there.
func empty(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() || filepath.Base(filepath.Dir(path)) != "log" {
		return os.RemoveAll(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// link makes a symbolic link, whatever was at that place before.
func (a *Agent) link(target, name string) error {
	path := a.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}
