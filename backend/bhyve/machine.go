package bhyve

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// machine is a guest of vm-bhyve: it lives as long as the kernel has its
// device.
type machine struct {
	id      string
	host    *host
	os      string
	address netip.AddrPort

	watching sync.Once
	done     chan struct{}
}

var (
	_ backend.Machine = (*machine)(nil)
	_ backend.Foreign = (*machine)(nil)
)

func newMachine(id string, h *host) *machine {
	return &machine{id: id, host: h, done: make(chan struct{})}
}

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return m.address }
func (m *machine) How() string             { return backend.Clone }
func (m *machine) OS() string              { return m.os }

// look is how often the device is looked at.
const look = 250 * time.Millisecond

func (m *machine) Done() <-chan struct{} {
	m.watching.Do(func() {
		go func() {
			defer close(m.done)
			for m.host.alive(m.id) {
				time.Sleep(look)
			}
		}()
	})
	return m.done
}

func (m *machine) Err() error {
	if m.host.alive(m.id) {
		return nil
	}
	return fmt.Errorf("%w: its device is not below %s any more", guest.ErrGone, m.host.devices)
}
