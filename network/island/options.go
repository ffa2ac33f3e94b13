package island

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
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
	// Egress is the only interface that workers may leave the host by. When
	// empty they leave as the host's own routes say.
	Egress string
	// Deny is what workers cannot reach except where Allow says so. Nil means
	// the private networks; empty means nothing.
	Allow, Deny []netip.Prefix
	// DNS answers the workers' questions: one resolver, which may be an address
	// of the host. None means the host's own.
	DNS []netip.Addr
	// Containers says that leases are for containers: network.TAP has another
	// end, network.Peer, for one to take.
	Containers bool
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
	for _, prefix := range o.Allow {
		if !prefix.Addr().Is4() {
			errs = append(errs, fmt.Errorf("network.allow: %s is not IPv4, and nothing else leaves a worker", prefix))
		}
	}
	if len(o.DNS) > 1 {
		errs = append(errs, fmt.Errorf("network.dns: workers ask one resolver, and there are %d", len(o.DNS)))
	}
	for _, addr := range o.DNS {
		if !addr.Is4() {
			errs = append(errs, fmt.Errorf("network.dns: %s is not IPv4, and workers reach nothing else", addr))
		}
	}
	return errors.Join(errs...)
}
