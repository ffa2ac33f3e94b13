//go:build linux

package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/pci"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// borrowLimit bounds the wait for a device whose machine has just ended.
const borrowLimit = 30 * time.Second

// borrow takes the devices of the host that the pool's workers have, before all other
// pools that name them too, until release. The kernel takes them back with our process.
func (b *Backend) borrow(ctx context.Context) (release func(), err error) {
	var held []*filelock.Lock
	release = func() {
		for _, lock := range held {
			_ = lock.Release() // closing it is all there is to it
		}
	}
	dir := filepath.Join(b.options.StateDir, "devices")
	for _, address := range b.options.PCI {
		if err = os.MkdirAll(dir, 0o700); err != nil {
			break
		}
		lock, failed := b.borrowOne(ctx, filepath.Join(dir, address))
		if failed != nil {
			err = fmt.Errorf("%s: %w", address, failed)
			break
		}
		held = append(held, lock)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (b *Backend) borrowOne(ctx context.Context, path string) (*filelock.Lock, error) {
	taken := errors.New("another worker has it: only one pool at a time can name it in machine.devices")
	ctx, cancel := context.WithTimeoutCause(ctx, borrowLimit, taken)
	defer cancel()
	return filelock.Acquire(ctx, path)
}

// checkDevices says which devices workers can have, and what they cannot have with them.
func (b *Backend) checkDevices() (findings []doctor.Finding) {
	for _, address := range b.options.PCI {
		findings = append(findings, pci.Host{Root: "/"}.Check(address))
	}
	if len(b.options.PCI) > 0 {
		findings = append(findings, doctor.Finding{Level: doctor.OK, What: "forks",
			Detail: "off: a device of the host cannot be saved with a machine, so that every worker boots, " +
				"and none is suspended (plugin_config.machine.devices)"})
	}
	return findings
}

// fixed is a backend whose machines cannot be saved.
type fixed struct {
	backend.Backend
	backend.Forker
	backend.Console
	backend.Accelerated
	backend.Metered
	backend.Costed
}

// Fixed is the backend without what needs machines to be saved: they have devices that
// cannot be. Of Forker there remains that old templates are removed.
func (b *Backend) Fixed() backend.Backend { return fixed{b, b, b, b, b, b} }
