//go:build linux

package nspawn

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// leastVersion of systemd-nspawn has every option that we use.
const leastVersion = 247

// Check looks for the programs, and tries what the kernel lets containers do.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	findings := []doctor.Finding{b.checkNspawn()}
	if b.options.Source == image.Debootstrap {
		findings = append(findings, doctor.FindProgram("mmdebstrap"))
	} else {
		findings = append(findings, doctor.Finding{
			Level: doctor.Missing, What: "image.source", Detail: "it names a cloud image, which holds a whole disk",
			Mend: fmt.Sprintf("set plugin_config.image.source to %q, or choose a backend of virtual machines",
				image.Debootstrap),
		})
	}
	return append(findings,
		doctor.FindProgram("unshare"), doctor.FindProgram("mount"),
		b.checkCopies(ctx), checkGroups(), b.checkUsers())
}

func (b *Backend) checkNspawn() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "systemd-nspawn"}
	version, err := b.version()
	switch {
	case err != nil:
		finding.Level, finding.Detail, finding.Mend = doctor.Missing, err.Error(), programs.Remedy("systemd-nspawn")
	case version < leastVersion:
		finding.Level = doctor.Missing
		finding.Detail = fmt.Sprintf("version %d, and %d is the least", version, leastVersion)
		finding.Mend = "use a newer release of the distribution"
	default:
		finding.Detail = fmt.Sprintf("version %d", version)
	}
	return finding
}

// nspawnVersion reads "systemd 252 (252.39-1)".
func nspawnVersion() (int, error) {
	out, err := exec.Command("systemd-nspawn", "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("asking systemd-nspawn for its version: %w", err)
	}
	return parseVersion(string(out))
}

func parseVersion(said string) (int, error) {
	fields := strings.Fields(said)
	if len(fields) > 1 && fields[0] == "systemd" {
		number, _, _ := strings.Cut(fields[1], "~") // of a release candidate
		if version, err := strconv.Atoi(number); err == nil {
			return version, nil
		}
	}
	first, _, _ := strings.Cut(said, "\n")
	return 0, fmt.Errorf("systemd-nspawn --version says %q, which names no version", first)
}

// checkCopies tries how workers will share the golden tree's files. It tries in a
// new directory, below WorkersDir or the nearest directory above that exists.
func (b *Backend) checkCopies(ctx context.Context) doctor.Finding {
	dir := b.options.WorkersDir
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	if tree.IsBtrfs(dir) {
		return doctor.Finding{Level: doctor.OK, What: "copies", Detail: "workers are btrfs snapshots"}
	}
	if err := tryOverlay(ctx, dir); err != nil {
		return doctor.Finding{Level: doctor.Missing, What: "copies", Detail: err.Error(),
			Mend: "load the module (modprobe overlay), and put state_dir on ext4, XFS or btrfs"}
	}
	return doctor.Finding{Level: doctor.OK, What: "copies", Detail: "workers are overlays"}
}

func tryOverlay(ctx context.Context, dir string) error {
	work, err := os.MkdirTemp(dir, ".doctor-")
	if err != nil {
		return fmt.Errorf("no file can be made below %s: %w", dir, err)
	}
	defer os.RemoveAll(work)
	var parts []string
	for _, part := range []string{"lower", upperDir, workDir, rootDir} {
		path := filepath.Join(work, part)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		parts = append(parts, path)
	}
	m := overlay(parts[0], parts[1], parts[2], parts[3])
	out, err := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private",
		"mount", "-t", m.kind, "-o", m.options, m.source, m.target).CombinedOutput()
	if err != nil {
		return fmt.Errorf("an overlay cannot be mounted below %s: %w: %s", dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func checkGroups() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "control groups"}
	hierarchies, err := cgroup.Hierarchies()
	switch {
	case err != nil:
		finding.Level, finding.Detail, finding.Mend = doctor.Missing, err.Error(), "mount /proc"
		return finding
	case len(hierarchies) == 0:
		finding.Level = doctor.Missing
		finding.Detail = "none are mounted, and without one a container cannot be ended for sure"
		finding.Mend = "mount -t cgroup2 none /sys/fs/cgroup"
		return finding
	}
	if lacking := cgroup.Lacking(hierarchies); len(lacking) > 0 {
		finding.Level, finding.Detail = doctor.Warning, "workers have no limit on "+strings.Join(lacking, ", ")
		finding.Mend = "boot the host with the unified hierarchy (systemd.unified_cgroup_hierarchy=1) " +
			"and with cgroup_enable=memory"
		return finding
	}
	finding.Detail = "memory, processors and processes of workers are limited"
	if process.Systemd() {
		finding.Detail += ", by scopes of systemd"
	}
	return finding
}

func (b *Backend) checkUsers() doctor.Finding {
	finding := doctor.Finding{Level: doctor.Warning, What: "user namespaces"}
	if !b.options.PrivateUsers {
		finding.Detail = "switched off: root in a worker is root on this host, held back only by what it may not call"
		finding.Mend = "remove plugin_config.nspawn.private_users, or set it to true"
		return finding
	}
	if err := userNamespaces(); err != nil {
		finding.Detail = "this host has none: root in a worker is root on this host, " +
			"held back only by what it may not call: " + err.Error()
		finding.Mend = "sysctl user.max_user_namespaces=15000, on a kernel with CONFIG_USER_NS"
		return finding
	}
	finding.Level = doctor.OK
	finding.Detail = fmt.Sprintf("root in a worker is user %d on this host", image.ShiftedBase)
	return finding
}

// userNamespaces tries to make a user namespace.
func userNamespaces() error {
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	return probe.Run()
}
