//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
)

// Names of QEMU's own files, in a machine's directory.
const (
	outputFile  = "qemu.log"
	agentSocket = "agent.sock"
	qmpSocket   = "qmp.sock"
)

// ends are QEMU's reasons of a SHUTDOWN that the guest has caused. With
// -no-reboot a reset is one too.
var ends = map[string]string{
	"guest-shutdown": vmm.PoweredOff,
	"guest-reset":    vmm.Rebooted,
	"guest-panic":    vmm.Panicked,
}

// machine is a QEMU process.
type machine struct {
	dir     string
	spec    vmm.Spec
	process *process.Process
	// qmp and agent are there once the machine was reached; migrated gets the
	// end of each migration.
	qmp      *qmp.Client
	agent    net.Conn
	migrated chan string
	// diskErrors gets the first failed write to the disk.
	diskErrors chan error
	// heard is closed when the last event was read; whoever watches the machine asks
	// for it at any time.
	heard atomic.Pointer[<-chan struct{}]
	// lastWords is what QMP said last about the end of the machine.
	lastWords atomic.Pointer[string]
}

var (
	_ vmm.Monitor = (*machine)(nil)

	_ vmm.DiskReporter = (*machine)(nil)
)

// Launch starts QEMU with the sockets that it inherits.
func (d Driver) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
	return d.launch(place, spec, place.Start)
}

// launch is Launch with another way to start a program, for comparison.
func (d Driver) launch(
	place vmm.Place, spec vmm.Spec,
	start func(process.Command, vmm.Spec, vmm.Files) (*process.Process, error),
) (vmm.Monitor, error) {
	var files []*os.File
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	for _, name := range []string{agentSocket, qmpSocket} { // agentFD, qmpFD
		file, err := process.Listen(filepath.Join(place.Dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	with := settings{readOnly: d.versions.of(d.binary()).mapsReadOnly(), generation: newGeneration()}
	if spec.Seed == "" { // an image's draft has no limits
		with.limits = d.limits
	}
	if spec.UEFI {
		var err error
		if with.firmware, err = findFirmware(firmwares[runtime.GOARCH]); err != nil {
			return nil, err
		}
	}
	child, err := start(process.Command{
		Path: d.binary(), Arguments: arguments(place.Tag, spec, with),
		Files: files, Output: filepath.Join(place.Dir, outputFile),
	}, spec, spec.Files(place.Dir, with.readOnly))
	if err != nil {
		return nil, err
	}
	return &machine{
		dir: place.Dir, spec: spec, process: child,
		migrated: make(chan string, 1), diskErrors: make(chan error, 1),
	}, nil
}

// Process is QEMU.
func (m *machine) Process() *process.Process { return m.process }

// Boot reaches the machine, which boots by itself.
func (m *machine) Boot(ctx context.Context) error { return m.reach(ctx) }

// Agent is the line that was opened when the machine was reached, and a new one when that
// was given away.
func (m *machine) Agent(ctx context.Context) (net.Conn, error) {
	if line := m.agent; line != nil {
		m.agent = nil
		return line, nil
	}
	return dial(ctx, filepath.Join(m.dir, agentSocket))
}

// reach follows the machine's events from now on, and opens the line to its
// agent. Both end with the machine.
func (m *machine) reach(ctx context.Context) error {
	conn, err := dial(ctx, filepath.Join(m.dir, qmpSocket))
	if err != nil {
		return err
	}
	client, err := qmp.New(ctx, conn, m.note)
	if err != nil {
		_ = conn.Close()
		return err
	}
	heard := client.Closed()
	m.qmp = client
	m.heard.Store(&heard)
	agent, err := dial(ctx, filepath.Join(m.dir, agentSocket))
	go func() {
		<-client.Closed()
		_ = client.Close()
		if err == nil {
			_ = agent.Close() // whoever speaks with it closes it as well
		}
	}()
	m.agent = agent
	return err
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("reaching QEMU: %w", err)
	}
	return conn, nil
}

// note keeps the events that explain an end.
func (m *machine) note(event qmp.Event) {
	switch event.Name {
	case "SHUTDOWN", "GUEST_PANICKED", "BLOCK_IO_ERROR":
		words := explain(event)
		m.lastWords.Store(&words)
		if event.Name == "BLOCK_IO_ERROR" {
			m.noteDiskError(event)
		}
	case "MIGRATION":
		m.noteMigration(event)
	}
}

// DiskErrors gets the first failed write to the disk.
func (m *machine) DiskErrors() <-chan error { return m.diskErrors }

// noteDiskError tells of a write that failed. What QEMU cannot read is a fault of the
// disk, and of no interest here.
func (m *machine) noteDiskError(event qmp.Event) {
	var data struct{ Operation, Reason string }
	if json.Unmarshal(event.Data, &data) != nil || data.Operation != "write" {
		return
	}
	err := fmt.Errorf("writing to %s: %s", m.spec.Disk, data.Reason)
	// The field nospace is set for machines only that QEMU stops then.
	if full := diskspace.Heard(data.Reason); full != nil {
		err = fmt.Errorf("writing to %s: %w", m.spec.Disk, full)
	}
	select {
	case m.diskErrors <- err:
	default: // the first is enough
	}
}

// explain says what an event means; one that no guest causes keeps its name.
func explain(event qmp.Event) string {
	var data struct{ Reason string }
	_ = json.Unmarshal(event.Data, &data) // without a reason the name is all there is
	switch words, known := ends[data.Reason]; {
	case event.Name == "GUEST_PANICKED":
		return vmm.Panicked
	case event.Name == "SHUTDOWN" && known:
		return words
	case data.Reason != "":
		return event.Name + " (" + data.Reason + ")"
	}
	return event.Name
}

// End is the last event that explains an end.
func (m *machine) End() (words string, poweredOff bool) {
	said := m.lastWords.Load()
	if said == nil {
		return "", false
	}
	return *said, *said == vmm.PoweredOff
}

// Heard is closed when the last event was read. A machine that was not reached
// says nothing.
func (m *machine) Heard() <-chan struct{} {
	if heard := m.heard.Load(); heard != nil {
		return *heard
	}
	nothing := make(chan struct{})
	close(nothing)
	return nothing
}
