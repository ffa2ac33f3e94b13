//go:build linux

package island

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Options is what a pool's network depends on.
type Options struct {
	// PoolDir is the pool's directory, absolute. All names that the pool
	// leaves in the kernel are derived from it.
	PoolDir string
	// Pool is the pool's name, with which its workers' ids begin.
	Pool string
	// AddressDir is where the pools of the host agree on addresses.
	AddressDir string
	// Subnet holds the workers' addresses, IPv4.
	Subnet netip.Prefix
	// Policy is what the pool's workers may reach and take.
	network.Policy
	// Containers says that leases are for containers: network.TAP has another
	// end, network.Peer, for one to take.
	Containers bool
	// Queues is how many pairs of queues the device of a virtual machine has; 0 is one.
	Queues int
	// Log is told what mends itself; nil for silence.
	Log *slog.Logger
}

func (o Options) validate() error {
	var errs []error
	if !filepath.IsAbs(o.PoolDir) {
		errs = append(errs, fmt.Errorf("pool directory %q is not absolute", o.PoolDir))
	}
	if o.Pool == "" {
		errs = append(errs, errors.New("pool has no name"))
	}
	return errors.Join(errs...)
}
