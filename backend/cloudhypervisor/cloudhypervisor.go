//go:build linux

package cloudhypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Driver runs machines with Cloud Hypervisor.
type Driver struct {
	// Binary is Cloud Hypervisor's; empty means defaultBinary.
	Binary string
	// Limits hold for every machine but an image's draft.
	Limits Limits
}

var (
	_ vmm.Driver   = Driver{}
	_ vmm.Forkable = Driver{}
)

// defaultBinary is looked for in PATH.
const defaultBinary = "cloud-hypervisor"

// Versions that can do more than those before.
const (
	// leastVersion is the first in which a disk's type, and what it reads
	// through to, can be given.
	leastVersion = 51
	// forkVersion is the first whose snapshots are forked.
	forkVersion = 53
	// copyOnWriteVersion is the first that maps a snapshot's memory in place of
	// copying it.
	copyOnWriteVersion = 54
)

// install says where the binary comes from: distributions do not have it.
const install = "install the static binary of a release from v53 on, from the project's own page, as " + defaultBinary +
	" in PATH, or set plugin_config.cloud_hypervisor.binary"

// errFirmware says why an image that comes as a whole disk is not built here.
var errFirmware = errors.New("an image that comes as a whole disk is booted by firmware once, " +
	`and this backend has none: build it once with plugin_config.backend = "qemu" ` +
	"(fleeting-plugin-mayfly image build), which both backends then use")

func (d Driver) binary() string { return cmp.Or(d.Binary, defaultBinary) }

// Traits are Cloud Hypervisor's. It keeps parts of an overlay in its memory, so
// that the disks of templates and forks are whole. A fork has its template's
// limits.
func (d Driver) Traits() vmm.Traits {
	traits := vmm.Traits{
		Name: "Cloud Hypervisor", Binary: d.binary(),
		Tag:            process.Tag{Option: "--log-file", Suffix: "/" + logFile},
		ProbeArguments: probeArguments, AnswerFile: "acceleration-cloudhypervisor.json",
		WholeDisks: true,
		Sockets:    []string{apiSocket, vsockDir}, Logs: []string{outputFile, logFile},
	}
	if d.Limits != (Limits{}) {
		traits.TemplateExtra = fmt.Sprintf("%+v", d.Limits)
	}
	return traits
}

// CanFork asks the binary for its version.
func (d Driver) CanFork(ctx context.Context) (bool, error) {
	version, err := d.version(ctx)
	return version.AtLeast(forkVersion), err
}

func (d Driver) version(ctx context.Context) (api.Version, error) {
	out, err := exec.CommandContext(ctx, d.binary(), "--version").Output()
	if err != nil {
		return api.Version{}, fmt.Errorf("asking %s for its version: %w", d.binary(), err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return api.ParseVersion(strings.TrimSpace(line))
}

// Check looks for the binary, and for Landlock.
func (d Driver) Check(ctx context.Context, options vmm.Options) []doctor.Finding {
	findings := []doctor.Finding{d.checkBinary(ctx, options.Fork), checkLandlock()}
	if options.Source != image.Debootstrap {
		findings = append(findings, doctor.Finding{
			Level: doctor.Warning, What: "image.source", Detail: errFirmware.Error(),
			Mend: `leave image.source at "debootstrap", or build the image with the backend "qemu"`,
		})
	}
	return findings
}

func (d Driver) checkBinary(ctx context.Context, fork bool) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: d.binary()}
	version, err := d.version(ctx)
	switch {
	case err != nil:
		finding.Level, finding.Detail, finding.Mend = doctor.Missing, err.Error(), install
	case !version.AtLeast(leastVersion):
		finding.Level, finding.Mend = doctor.Missing, install
		finding.Detail = fmt.Sprintf("%s is too old: v%d is needed, and v%d for forks",
			version, leastVersion, forkVersion)
	case !version.AtLeast(forkVersion) && fork:
		finding.Level, finding.Mend = doctor.Warning, install
		finding.Detail = fmt.Sprintf("%s forks no machines: every worker boots until it is v%d", version, forkVersion)
	default:
		finding.Detail = version.String()
	}
	return finding
}

// checkLandlock asks the kernel, since machines confine themselves with it.
func checkLandlock() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "landlock"}
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	if errno != 0 {
		finding.Level, finding.Detail = doctor.Missing, fmt.Sprintf("this kernel has no Landlock: %v", errno)
		finding.Mend = "boot a kernel from 5.13 on that was built with it, " +
			"and with landlock in the list of its parameter lsm="
		return finding
	}
	finding.Detail = fmt.Sprintf("version %d of its interface", abi)
	return finding
}
