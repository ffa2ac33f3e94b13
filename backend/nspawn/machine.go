//go:build linux

package nspawn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

// consoleFile is in the worker's directory.
const consoleFile = "console.log"

// mostProcesses is how many processes and threads a container may have.
const mostProcesses = 16384

// machine is a container. Without a process it is an orphan that lost its
// supervisor: it can only be destroyed.
type machine struct {
	id      string
	console string
	address netip.AddrPort
	process *process.Process
	// closed is closed when the supervisor has ended; end is the reason. A
	// container of an earlier process has neither.
	closed chan struct{}
	end    error
}

var _ backend.Machine = (*machine)(nil)

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return m.address }
func (m *machine) How() string             { return backend.Clone }

// ended is a closed channel.
var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (m *machine) Done() <-chan struct{} {
	switch {
	case m.process == nil:
		return ended
	case m.closed == nil:
		return m.process.Done()
	}
	return m.closed
}

func (m *machine) Err() error {
	select {
	case <-m.Done():
	default:
		return nil
	}
	switch {
	case m.process == nil:
		return fmt.Errorf("%w: its supervisor has ended", guest.ErrGone)
	case m.closed == nil:
		return fmt.Errorf("%w: systemd-nspawn %w", guest.ErrGone, m.process.Err())
	}
	return m.end
}

// container is what is started.
type container struct {
	id, namespace string
	size          backend.Size
	form          string
	mounts        []mount
	console       string
	// kvm is the path of a device node, if the container has one.
	kvm string
	// command and input are for a container that is not booted.
	command []string
	input   *os.File
	// givesWay has other machines go before it.
	givesWay bool
}

// launch starts a container in a control group of its own: that of its scope under
// systemd, else one that we make.
func (b *Backend) launch(c container) (*machine, error) {
	version, err := b.version()
	if err != nil {
		return nil, err
	}
	limits := cgroup.Limits{Memory: c.size.Memory, CPUs: c.size.CPUs, PIDs: mostProcesses}
	spec := commandSpec{
		Version: version, Mounts: c.mounts, Name: c.id, Memory: c.size.Memory, Form: c.form, KVM: c.kvm,
		Command: c.command,
	}
	if !process.Systemd() {
		entries, err := b.units.Make(c.id, limits)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			spec.Join = append(spec.Join, entry.Processes())
		}
	}
	properties := append(limits.Properties(), "Delegate=yes")
	if c.givesWay {
		properties = append(properties, "CPUWeight="+strconv.Itoa(process.LowShare))
		if !process.Systemd() {
			_ = b.units.Weigh(c.id, limits, process.LowShare) // else it runs as any other
		}
	}
	command := process.Command{
		Path: "unshare", Arguments: spec.arguments(), Namespace: c.namespace, Input: c.input, Output: c.console,
	}
	child, err := process.Start(process.InScope(command, b.units.Name(c.id), properties...))
	if err != nil {
		return nil, err
	}
	go bootlog.Bound(child.Done(), c.console)
	m := &machine{id: c.id, console: c.console, process: child, closed: make(chan struct{})}
	go m.watch(b.units, c.size.Memory)
	return m, nil
}

// The wait for SSH tries anew after dialTimeout: a packet that is sent before the
// container's network is up is lost, and the kernel would send the next after a
// second.
const (
	dialTimeout  = 100 * time.Millisecond
	dialInterval = 10 * time.Millisecond
)

// awaitSSH returns when something listens on the SSH port.
func (m *machine) awaitSSH(ctx context.Context) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	dialer := net.Dialer{Timeout: dialTimeout}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", m.address.String())
		if err == nil {
			return conn.Close()
		}
		phase.Hindered(ctx, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for sshd in the container: %w; the last try: %w", context.Cause(ctx), err)
		case <-time.After(dialInterval):
		}
	}
}

// explain puts the reason of the container's end before an error that the end has
// caused, such as a connection that broke.
func (m *machine) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-m.Done():
		return errors.Join(m.Err(), err)
	case <-time.After(endDelay):
		return err
	}
}

// endDelay is how much later than the end of its connections the end of a process
// may become known.
const endDelay = 100 * time.Millisecond
