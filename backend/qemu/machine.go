//go:build linux

package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Names of the files of a machine, in the worker's directory.
const (
	consoleFile = "console.log"
	outputFile  = "qemu.log"
	agentSocket = "agent.sock"
	qmpSocket   = "qmp.sock"
)

// machine is a QEMU process.
type machine struct {
	id      string
	dir     string
	address netip.AddrPort
	how     string
	spec    machineSpec
	process *process.Process
	// qmp is there once the machine was reached; migrated gets the end of each
	// migration.
	qmp      *qmp.Client
	migrated chan string
	// agent is there from restore to goOn.
	agent net.Conn
	// lastWords is what QMP said last about the end of the machine.
	lastWords atomic.Pointer[string]
}

var _ backend.Machine = (*machine)(nil)

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return m.address }
func (m *machine) How() string             { return m.how }
func (m *machine) Done() <-chan struct{}   { return m.process.Done() }

func (m *machine) Err() error {
	err := m.process.Err()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: QEMU %w%s", guest.ErrGone, err, m.explanation())
}

// explanation is what QEMU said about its end, on QMP or else in its output.
func (m *machine) explanation() string {
	if words := m.lastWords.Load(); words != nil {
		return ": " + *words
	}
	return bootlog.LastLine(filepath.Join(m.dir, outputFile))
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

// explain prefers the end of the machine to what that end brought about, such
// as a connection that broke. Who called it off does not wait for another reason.
func (m *machine) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) && m.process.Err() == nil {
		return err
	}
	select {
	case <-m.Done():
	case <-time.After(endDelay):
	}
	return cmp.Or(m.Err(), err)
}

// endDelay is how long the end of a process may be known after the end of its
// connections: an instant, but on a host that is too busy.
const endDelay = 2 * time.Second

// launch starts QEMU with the sockets that it inherits, which lie in dir.
func (b *Backend) launch(id, dir, namespace string, spec machineSpec) (*machine, error) {
	var files []*os.File
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	for _, name := range []string{agentSocket, qmpSocket} { // agentFD, qmpFD
		file, err := process.Listen(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	spec.Name = b.tag.Value(id)
	command := process.Command{
		Path:      b.options.Binary,
		Arguments: spec.arguments(),
		Namespace: namespace,
		Files:     files,
		Output:    filepath.Join(dir, outputFile),
	}
	child, err := process.Start(process.InScope(command, "mayfly-"+id))
	if err != nil {
		return nil, err
	}
	m := &machine{id: id, dir: dir, how: backend.Clone, spec: spec, process: child, migrated: make(chan string, 1)}
	go bootlog.Bound(m.Done(), spec.Console, command.Output)
	return m, nil
}

// reach follows the machine's events from now on, and opens the line to its
// agent.
func (m *machine) reach(ctx context.Context) (agent net.Conn, err error) {
	if err := m.watch(ctx); err != nil {
		return nil, err
	}
	return dial(ctx, filepath.Join(m.dir, agentSocket))
}

func (m *machine) watch(ctx context.Context) error {
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
	go func() {
		<-client.Closed()
		_ = client.Close()
	}()
	return nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("reaching QEMU: %w", err)
	}
	return conn, nil
}
