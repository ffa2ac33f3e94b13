package foreigntool

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
)

// Clone is what every machine of a tool says of itself. A backend's machine
// embeds it, and adds when and why it ended.
type Clone struct {
	id, os  string
	address netip.AddrPort
}

// NewClone is the machine of that name. System and address are not known before
// Introduce has met its guest.
func NewClone(id string) Clone { return Clone{id: id} }

func (c *Clone) ID() string              { return c.id }
func (c *Clone) Address() netip.AddrPort { return c.address }
func (c *Clone) How() string             { return backend.Clone }
func (c *Clone) OS() string              { return c.os }

func (c *Clone) meet(system string, address netip.AddrPort) { c.os, c.address = system, address }

// clone is a machine that embeds a Clone.
type clone interface {
	backend.Machine
	meet(system string, address netip.AddrPort)
}

// Introduce logs in to the guest of a worker that boots, mounts shares, and gives
// it its identity. It fails when the machine ends before.
func Introduce(ctx context.Context, m clone, locate remote.Locate, golden Note, identity guest.Identity,
	mounts ...remote.Mount,
) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	g, address, err := remote.Wait(ctx, locate, golden.Keys.Login())
	if err != nil {
		return err
	}
	defer g.Close()
	m.meet(golden.OS, address)
	for _, mount := range mounts {
		if err := g.Mount(ctx, mount); err != nil {
			return err
		}
	}
	return g.Rekey(ctx, identity)
}

// powerOffLimit bounds the end of an image's first boot.
const powerOffLimit = 3 * time.Minute

// UntilOff is ctx for those who wait for a sealed guest to power off.
func UntilOff(ctx context.Context) (context.Context, context.CancelFunc) {
	late := fmt.Errorf("the guest did not power off within %s", powerOffLimit)
	return context.WithTimeoutCause(ctx, powerOffLimit, late)
}

// Watched is a machine that is no child of this process: its end is found by
// looking for it.
type Watched struct {
	Clone
	gone func() error

	watch sync.Once
	done  chan struct{}
}

var _ interface {
	backend.Machine
	backend.Foreign
} = (*Watched)(nil)

// Watch is the machine of that name. gone is as Err of a backend.Machine.
func Watch(id string, gone func() error) *Watched {
	return &Watched{Clone: NewClone(id), gone: gone, done: make(chan struct{})}
}

func (w *Watched) Err() error { return w.gone() }

// look is how often a machine is looked at.
const look = 250 * time.Millisecond

// Done looks from the first call on, until the machine has ended.
func (w *Watched) Done() <-chan struct{} {
	w.watch.Do(func() {
		go func() {
			defer close(w.done)
			for w.gone() == nil {
				time.Sleep(look)
			}
		}()
	})
	return w.done
}
