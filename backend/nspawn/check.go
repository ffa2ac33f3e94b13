//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/scratch"
)

// leastVersion of systemd-nspawn has every option that we use.
const leastVersion = 247

// Check looks for the programs, and tries what the kernel lets containers do.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	findings := []doctor.Finding{b.checkNspawn()}
	switch b.options.Source {
	case image.OCI, image.Saved: // a tree that is there
	case image.Debootstrap:
		findings = append(findings, draft.Check(ctx)...)
	default:
		findings = append(findings, doctor.Finding{
			Level: doctor.Missing, What: "image.source", Detail: "it names a cloud image, which holds a whole disk",
			Mend: fmt.Sprintf("set plugin_config.image.source to %q, or choose a backend of virtual machines",
				image.Debootstrap),
		})
	}
	if len(warmFiles(b.options.Warm)) > 0 {
		findings = append(findings, doctor.Finding{Level: doctor.OK, What: "warm steps",
			Detail: "run in every worker before it is ready: a container has no memory that could be forked"})
	}
	if b.options.Nested {
		findings = append(findings, checkKVM())
	}
	return append(findings,
		doctor.FindProgram("unshare"), doctor.FindProgram("mount"), doctor.FindProgram("mkfs.ext4"),
		b.checkDisks(ctx), process.CheckGroups(ctx), b.checkUsers())
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
		if version, err := strconv.Atoi(number); err == nil && version > 0 {
			return version, nil
		}
	}
	first, _, _ := strings.Cut(said, "\n")
	return 0, fmt.Errorf("systemd-nspawn --version says %q, which names no version", first)
}

// checkDisks tries what workers write to: a disk of their own, with an overlay on
// it. It tries in a new directory, below WorkersDir or the nearest directory above
// that exists.
func (b *Backend) checkDisks(ctx context.Context) doctor.Finding {
	dir := b.options.WorkersDir
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := scratch.In(dir, func(work string) error { return tryDisk(ctx, work) }); err != nil {
		return doctor.Finding{Level: doctor.Missing, What: "disks", Detail: err.Error(),
			Mend: "load the modules that are missing", Command: "modprobe -a loop ext4 overlay", Safe: true}
	}
	return doctor.Finding{Level: doctor.OK, What: "disks",
		Detail: "machine.disk limits what a worker writes: it has an ext4 file system of its own, on a loop device"}
}

func tryDisk(ctx context.Context, work string) error {
	golden := image.Golden{Dir: work, Manifest: image.Manifest{Recipe: image.Recipe{Disk: tryDiskSize}}}
	worker := filepath.Join(work, "worker")
	if err := errors.Join(os.Mkdir(golden.Tree(), 0o700), os.Mkdir(worker, 0o700)); err != nil {
		return err
	}
	if err := makeDisk(ctx, golden); err != nil {
		return err
	}
	if err := cloneTree(ctx, golden, worker); err != nil {
		return err
	}
	args := append([]string{"--mount", "--propagation", "private", "sh", "-euc", mountAll, "mayfly"},
		mountArguments(mounts(golden, worker))...)
	out, err := exec.CommandContext(ctx, "unshare", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("a worker's disk cannot be mounted below %s: %w: %s",
			filepath.Dir(work), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tryDiskSize is the size of the disk that is tried.
const tryDiskSize = 64 << 20

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
		finding.Mend = "allow some, on a kernel with CONFIG_USER_NS"
		finding.Command, finding.Safe = "sysctl -w user.max_user_namespaces=15000", true
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
