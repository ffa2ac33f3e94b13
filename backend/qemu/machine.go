//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
)

// Names of QEMU's own files, in a machine's directory.
const (
	outputFile  = "qemu.log"
	agentSocket = "agent.sock"
	qmpSocket   = "qmp.sock"
)

// orderlyEnd is what QEMU says of a guest that powered itself off.
const orderlyEnd = "SHUTDOWN (guest-shutdown)"

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
	// lastWords is what QMP said last about the end of the machine.
	lastWords atomic.Pointer[string]
}

var (
	_ vmm.Monitor = (*machine)(nil)
	_ vmm.Cable   = (*machine)(nil)
)

// Launch starts QEMU with the sockets that it inherits.
func (d Driver) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
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
	child, err := place.Start(process.Command{
		Path: d.binary(), Arguments: arguments(place.Tag, spec),
		Files: files, Output: filepath.Join(place.Dir, outputFile),
	})
	if err != nil {
		return nil, err
	}
	return &machine{dir: place.Dir, spec: spec, process: child, migrated: make(chan string, 1)}, nil
}

// Process is QEMU.
func (m *machine) Process() *process.Process { return m.process }

// Boot reaches the machine, which boots by itself.
func (m *machine) Boot(ctx context.Context) error { return m.reach(ctx) }

// Agent is the line that was opened when the machine was reached.
func (m *machine) Agent(context.Context) (net.Conn, error) { return m.agent, nil }

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
	m.qmp = client
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
	case "SHUTDOWN", "GUEST_PANICKED", "RESET", "BLOCK_IO_ERROR":
		words := event.Name
		var data struct{ Reason string }
		if json.Unmarshal(event.Data, &data) == nil && data.Reason != "" {
			words += " (" + data.Reason + ")"
		}
		m.lastWords.Store(&words)
	case "MIGRATION":
		m.noteMigration(event)
	}
}

// End is the last event that explains an end.
func (m *machine) End() (words string, poweredOff bool) {
	said := m.lastWords.Load()
	if said == nil {
		return "", false
	}
	return *said, *said == orderlyEnd
}

// Heard is closed when the last event was read. A machine that was not reached
// says nothing.
func (m *machine) Heard() <-chan struct{} {
	if m.qmp == nil {
		nothing := make(chan struct{})
		close(nothing)
		return nothing
	}
	return m.qmp.Closed()
}
