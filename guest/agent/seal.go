//go:build linux

package agent

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// units are the systemd units of a golden image.
//
//go:embed units
var units embed.FS

// enabled are the units that a worker starts, and what starts them.
var enabled = map[string]string{
	guest.AgentUnit: "sysinit.target.wants",
}

// masked are units that a worker must not start. Some would make host keys or
// take the SSH port before the agent has given the worker its identity, some
// wait for a network that is there already, and some do the chores of
// long-lived machines, which only slow down a machine that lives for one job.
var masked = []string{
	"ssh.service", "ssh.socket", "sshd.service", "sshd.socket", "sshd-keygen.target",
	"systemd-networkd-wait-online.service", "NetworkManager-wait-online.service",
	"systemd-time-wait-sync.service", "systemd-timesyncd.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer", "dnf-makecache.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "motd-news.timer",
	"systemd-random-seed.service", "systemd-machine-id-commit.service", "systemd-firstboot.service",
	"systemd-pstore.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
	"getty@tty1.service", "console-getty.service", "getty-static.service",
	"serial-getty@ttyS0.service", "serial-getty@ttyAMA0.service",
	// The kernel loads these by itself at first use.
	"modprobe@dm_mod.service", "modprobe@loop.service", "modprobe@fuse.service",
	"modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@configfs.service",
	"unattended-upgrades.service", "snapd.seeded.service", "fwupd-refresh.timer", "update-notifier-download.timer",
}

// instanceFiles are files of one machine, which an image must not hold: what has every
// boot start the agent of a build, host keys, seeds of random numbers, cloud-init's state, logs,
// caches. Directories are removed with what is in them, but see empty.
var instanceFiles = []string{
	guest.BuildUnitLink,
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
func (a *agent) seal() error {
	if err := a.installUnits(); err != nil {
		return err
	}
	for _, unit := range masked {
		if err := a.link("/dev/null", "etc/systemd/system/"+unit); err != nil {
			return fmt.Errorf("masking %s: %w", unit, err)
		}
	}
	// Masked, this makes no /run/nologin, which would turn users away until the
	// boot has ended: jobs start as soon as SSH answers.
	if err := a.link("/dev/null", "etc/tmpfiles.d/systemd-nologin.conf"); err != nil {
		return err
	}
	// cloud-init has done its work; `cloud-init status --wait`, which users of
	// other plugins have in their configuration, then succeeds at once.
	if err := a.write("etc/cloud/cloud-init.disabled", "sealed by mayfly\n", 0o644); err != nil {
		return err
	}
	if err := errors.Join(a.silenceLogins(), a.speakUTF8()); err != nil {
		return err
	}
	var failed []error
	for _, pattern := range instanceFiles {
		paths, err := filepath.Glob(a.path(pattern))
		failed = append(failed, err)
		for _, path := range paths {
			failed = append(failed, empty(path))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	// The file is empty, not absent: without it systemd would take a boot for
	// the first one and set every unit anew.
	return a.write("etc/machine-id", "", 0o444)
}

// chatter are PAM's modules that tell who logs in about the system and their mail.
// They run scripts for that at each connection, and no job reads it.
var chatter = []string{"pam_motd.so", "pam_mail.so"}

// commonSession is how Debian and Ubuntu include what all logins have in common.
const commonSession = "@include common-session"

// silenceLogins takes them out of what sshd does at a login, and the session of logind
// out of what Debian and Ubuntu do: the user's services run from the boot on, and are
// there without one. Limits, environment and accounts stay as the distribution has them.
func (a *agent) silenceLogins() error {
	const name = "etc/pam.d/sshd"
	text, err := os.ReadFile(a.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading how sshd logs in: %w", err)
	}
	without := chatter
	common, err := os.ReadFile(a.path("etc/pam.d/common-session"))
	if err == nil {
		text = bytes.Replace(text, []byte(commonSession+"\n"), append(common, '\n'), 1)
		without = append([]string{"pam_systemd.so"}, chatter...)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		talks := func(module string) bool { return slices.Contains(strings.Fields(line), module) }
		if !slices.ContainsFunc(without, talks) {
			kept.WriteString(line)
		}
	}
	return a.write(name, kept.String(), 0o644)
}

func (a *agent) installUnits() error {
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

// empty removes a file or a tree. Of a directory directly below var/log it
// removes the content only: daemons expect their directory there, with its owner.
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
func (a *agent) link(target, name string) error {
	path := a.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}
