//go:build linux

package cloudhypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

const (
	// endDelay is how long the end of a process may be known after the end of
	// its connections: an instant, but on a host that is too busy.
	endDelay = 2 * time.Second
	// grace is how long a guest may take to end after its power button was
	// pressed. It ran one job, and nothing of it is kept.
	grace = time.Second
	// killLimit bounds the end of a machine that its guest has ended already.
	killLimit = 30 * time.Second
)

// machine is a Cloud Hypervisor process.
type machine struct {
	id      string
	dir     string
	address netip.AddrPort
	how     string
	process *process.Process
	api     *api.Client
	// heard is closed when the last event has been read.
	heard chan struct{}
	// lastWords is the event that explains the end of the machine.
	lastWords atomic.Pointer[string]
	// inUse says that the guest has its identity, and so may have had a job.
	inUse atomic.Bool
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
	return fmt.Errorf("%w: Cloud Hypervisor %w%s", guest.ErrGone, err, m.explanation())
}

// explanation is the event that ended the machine, or else what Cloud
// Hypervisor printed or logged last.
func (m *machine) explanation() string {
	if words := m.lastWords.Load(); words != nil {
		return ": " + *words
	}
	for _, file := range []string{outputFile, logFile} {
		if line := bootlog.LastLine(filepath.Join(m.dir, file)); line != "" {
			return line
		}
	}
	return ""
}

// listen follows the events until the machine has ended.
func (m *machine) listen(events *os.File) {
	defer close(m.heard)
	defer events.Close()
	_ = api.ReadEvents(events, m.note) // without events the machine still ends
}

// note keeps the events that explain an end. Neither a panic nor a reboot of
// the guest ends the process: a worker that starts anew has lost its job and
// its identity.
func (m *machine) note(event api.Event) {
	explanations := map[string]string{
		api.Panicked:  "the guest's kernel panicked",
		api.Rebooting: "the guest rebooted",
		api.Shutdown:  "the guest shut down",
	}
	words, ends := explanations[event.String()]
	if !ends {
		return
	}
	m.lastWords.CompareAndSwap(nil, &words) // what came first is the reason
	if event.String() != api.Shutdown {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), killLimit)
			defer cancel()
			_ = m.process.Kill(ctx) // the pool destroys it as well
		}()
	}
}

// explain prefers the end of the machine to what that end brought about, such
// as a connection that broke. Who called it off does not wait for another reason.
func (m *machine) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) && m.process.Err() == nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.Background(), endDelay)
	defer cancel()
	select {
	case <-m.Done():
		m.awaitEvents(limited)
	case <-limited.Done():
	}
	return cmp.Or(m.Err(), err)
}

// awaitEvents waits until what an ended machine said has been read.
func (m *machine) awaitEvents(ctx context.Context) {
	select {
	case <-m.heard:
	case <-ctx.Done():
	}
}

// tell tells the agent what to do first, as soon as it listens.
func (m *machine) tell(ctx context.Context, first func(*guest.Client, context.Context) error) error {
	agent, err := guest.DialVsock(ctx, vsockPath(m.dir))
	if err != nil {
		return err
	}
	defer agent.Close()
	if err := first(guest.NewClient(agent), ctx); err != nil {
		return err
	}
	m.inUse.Store(true)
	return nil
}

// rekey gives a guest its identity.
func rekey(identity guest.Identity) func(*guest.Client, context.Context) error {
	return func(agent *guest.Client, ctx context.Context) error { return agent.Rekey(ctx, identity) }
}

// stop lets a guest that was in use end in order, though not for long, and then
// ends the process.
func (m *machine) stop(ctx context.Context) error {
	if m.inUse.Load() && m.process.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if m.api.PowerButton(limited) == nil {
			select {
			case <-m.Done():
			case <-limited.Done():
			}
		}
	}
	return m.process.Kill(ctx)
}

// poweredOff tells an orderly end from a panic, or a process that was killed:
// only the disk of the first is whole.
func (m *machine) poweredOff() bool {
	words := m.lastWords.Load()
	return errors.Is(m.process.Err(), process.ErrSucceeded) && words != nil && *words == "the guest shut down"
}
