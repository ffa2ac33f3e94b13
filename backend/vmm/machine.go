//go:build linux

package vmm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Names of the files of a machine, in the worker's directory; its driver's are
// in Traits.
const (
	consoleFile = "console.log"
	diskFile    = "disk"
	memoryFile  = "memory"
	// baseFile is the worker's own name for the template's disk, and stateFile
	// what the machine was saved to.
	baseFile  = "base"
	stateFile = "state"
)

const (
	// endDelay is how much later than the end of its connections the end of a
	// process may become known: an instant, unless the host is too busy.
	endDelay = 2 * time.Second
	// grace is how long a guest may take to end after its power button was
	// pressed. It ran one job, and nothing of it is kept.
	grace = time.Second
)

// in is the machine with the files that it has in a worker's directory.
func (s Spec) in(dir string) Spec {
	s.Disk = filepath.Join(dir, diskFile)
	s.Console = filepath.Join(dir, consoleFile)
	s.State = filepath.Join(dir, stateFile)
	return s
}

// machine is a process of the monitor's program.
type machine struct {
	id, dir string
	address netip.AddrPort
	how     string
	spec    Spec
	traits  Traits
	// process is nil for an orphan whose process has ended: it can only be destroyed.
	process *process.Process
	// monitor is nil for a machine that an earlier plugin process started.
	monitor Monitor
	// ended is closed when the process has ended and all that was said of it was
	// read; end is the reason. A machine of an earlier process has neither.
	ended chan struct{}
	end   error
	units process.Units
	// inUse says that the guest has its identity, and so may have had a job.
	inUse atomic.Bool
	// diskError is the first failed write to the machine's disk.
	diskError atomic.Pointer[error]
}

var _ backend.Machine = (*machine)(nil)

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return m.address }
func (m *machine) How() string             { return m.how }

// ended is a closed channel.
var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (m *machine) Done() <-chan struct{} {
	switch {
	case m.process == nil:
		return ended
	case m.monitor == nil:
		return m.process.Done()
	}
	return m.ended
}

func (m *machine) Err() error {
	select {
	case <-m.Done():
	default:
		return nil
	}
	switch {
	case m.process == nil:
		return fmt.Errorf("%w: %s has ended", guest.ErrGone, m.traits.Name)
	case m.monitor == nil:
		return fmt.Errorf("%w: %s %w", guest.ErrGone, m.traits.Name, m.process.Err())
	}
	return m.end
}

// boot lets the machine boot, and talks to the agent as soon as it can be
// reached.
func (m *machine) boot(ctx context.Context, talk func(context.Context, *guest.Client) error) error {
	running, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	err := m.monitor.Boot(running)
	if err == nil {
		err = m.talk(running, talk)
	}
	return m.explain(err)
}

func (m *machine) talk(ctx context.Context, talk func(context.Context, *guest.Client) error) error {
	agent, err := m.monitor.Agent(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	return talk(ctx, guest.NewClient(agent))
}

func (m *machine) save(ctx context.Context) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	return m.monitor.Save(ctx)
}

// explain prefers the end of the machine to what that end brought about, such
// as a connection that broke. What was called off has its reason, and is not
// waited for.
func (m *machine) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) && m.process.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endDelay)
	defer cancel()
	_ = m.awaitEnd(ctx) // one that goes on has nothing to explain
	return cmp.Or(m.Err(), m.blameDisk(err))
}

// noteDiskError remembers, and logs, that the host could not write to the disk of a
// machine: its guest gets an I/O error, which does not name a reason. The first counts.
func (m *machine) noteDiskError(err error, log *slog.Logger) {
	err = diskspace.Explain(filepath.Dir(m.spec.Disk), err)
	if m.diskError.CompareAndSwap(nil, &err) {
		log.Error("the disk of a machine cannot be written to: its guest gets I/O errors", "worker", m.id, "err", err)
	}
}

// blameDisk puts a failed write to the machine's disk before what that brought about.
func (m *machine) blameDisk(err error) error {
	if failed := m.diskError.Load(); failed != nil && err != nil {
		return fmt.Errorf("%w; then %w", *failed, err)
	}
	return err
}

// awaitEnd waits until the machine has ended, and all that was said of it is
// read.
func (m *machine) awaitEnd(ctx context.Context) error {
	select {
	case <-m.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends the process. A guest that was in use may end in order before, where
// it has a power button, though it is not waited for long.
func (m *machine) stop(ctx context.Context) error {
	if button, ok := m.monitor.(PowerButton); ok && m.inUse.Load() && m.process.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if button.PressPowerButton(limited) == nil {
			select {
			case <-m.Done():
			case <-limited.Done():
			}
		}
	}
	return m.process.Kill(ctx)
}

// removeFiles leaves what the pool keeps in a worker's directory.
func (t Traits) removeFiles(dir string) error {
	var failed []error
	for _, names := range [][]string{{consoleFile, diskFile, baseFile, memoryFile, stateFile}, t.Sockets, t.Logs} {
		for _, name := range names {
			failed = append(failed, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(failed...)
}
