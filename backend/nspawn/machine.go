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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
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
}

var _ backend.Machine = (*machine)(nil)

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return m.address }
func (m *machine) How() string             { return backend.Clone }

// ended is a closed channel.
var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (m *machine) Done() <-chan struct{} {
	if m.process == nil {
		return ended
	}
	return m.process.Done()
}

func (m *machine) Err() error {
	if m.process == nil {
		return fmt.Errorf("%w: its supervisor has ended", guest.ErrGone)
	}
	err := m.process.Err()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: systemd-nspawn %w%s", guest.ErrGone, err, bootlog.LastLine(m.console))
}

// container is what is started.
type container struct {
	id, namespace string
	size          backend.Size
	form          string
	mount         mount
	console       string
	// command and input are for a container that is not booted.
	command []string
	input   *os.File
}

// launch starts a container in a control group of its own: that of its scope under
// systemd, else one that we make.
func (b *Backend) launch(c container) (*machine, error) {
	version, err := b.version()
	if err != nil {
		return nil, err
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	spec := commandSpec{Version: version, Mount: c.mount, Name: c.id, Form: c.form, Command: c.command}
	if !process.Systemd() {
		limits := cgroup.Limits{Memory: c.size.Memory, CPUs: c.size.CPUs, PIDs: mostProcesses}
		if spec.Join, err = b.group(hierarchies, c.id).Make(limits); err != nil {
			return nil, err
		}
	}
	command := process.Command{
		Path: "unshare", Arguments: spec.arguments(), Namespace: c.namespace, Input: c.input, Output: c.console,
	}
	child, err := process.Start(process.InScope(command, b.unit(c.id), properties(c.size)...))
	if err != nil {
		return nil, err
	}
	go bootlog.Bound(child.Done(), c.console)
	return &machine{id: c.id, console: c.console, process: child}, nil
}

// properties are the limits as properties of a systemd unit.
func properties(size backend.Size) []string {
	return []string{
		"Delegate=yes",
		"MemoryMax=" + strconv.FormatInt(size.Memory, 10), "MemorySwapMax=0",
		"CPUQuota=" + strconv.Itoa(size.CPUs*100) + "%",
		"TasksMax=" + strconv.Itoa(mostProcesses),
	}
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
