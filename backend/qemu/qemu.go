//go:build linux

package qemu

import (
	"cmp"
	"context"
	"log/slog"
	"os/exec"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Driver runs machines with QEMU.
type Driver struct {
	configured string
	limits     Limits
	versions   *versions
}

var _ vmm.Driver = Driver{}

// New returns the driver that runs a binary; empty means the one for this host's
// processor. The limits hold for every machine but an image's draft.
func New(binary string, limits Limits, log *slog.Logger) Driver {
	return Driver{configured: binary, limits: limits, versions: &versions{log: log}}
}

func (d Driver) binary() string { return cmp.Or(d.configured, binaryName()) }

// Traits are QEMU's: machines run by emulation as well, and a saved machine's
// disk may be an overlay.
func (d Driver) Traits() vmm.Traits {
	return vmm.Traits{
		Name: "QEMU", Binary: d.binary(),
		Tag:      process.Tag{Option: "-name", Prefix: "mayfly:"},
		Emulates: true, VHost: true, Generation: hasGenerations, ForksSaved: true,
		ProbeArguments: probeArguments, ProbeEnds: true, AnswerFile: "acceleration.json",
		Sockets: []string{agentSocket, qmpSocket}, Logs: []string{outputFile},
	}
}

// Check looks for the binary.
func (d Driver) Check(ctx context.Context, _ vmm.Options) []doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: d.binary()}
	out, err := exec.CommandContext(ctx, d.binary(), "--version").Output()
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = programs.Remedy(d.binary())
		return []doctor.Finding{finding}
	}
	finding.Detail, _, _ = strings.Cut(string(out), "\n")
	return []doctor.Finding{finding, vmm.CheckVHost()}
}
