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
	// Egress is the only interface that workers may leave the host by. When
	// empty they leave as the host's own routes say.
	Egress string
	// Deny is what workers cannot reach except where Allow says so. Nil means
	// network.DefaultDeny; empty means nothing.
	Allow, Deny []network.Destination
	// Domains, when there are any, are the names that workers may look up; then
	// they reach Allow and the addresses of these alone.
	Domains []string
	// DNS answers the workers' questions. None means the host's own resolvers.
	DNS []netip.Addr
	// IPv6 says whether workers have it.
	IPv6 network.IPv6
	// Limits bound what each worker takes of the host's network.
	Limits Limits
	// LogDenied has denied packets logged, with the worker's id.
	LogDenied bool
	// Containers says that leases are for containers: network.TAP has another
	// end, network.Peer, for one to take.
	Containers bool
	// Log is told what mends itself; nil for silence.
	Log *slog.Logger
}

// Limits bound what one worker takes of the host's network. Zero means without
// limit.
type Limits struct {
	// Bandwidth is bits per second, in each direction.
	Bandwidth int64
	// Connections is how many connections out there are at once, and
	// ConnectionRate how many are opened in a second.
	Connections, ConnectionRate int
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
