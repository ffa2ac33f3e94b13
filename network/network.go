// Package network is the contract for a worker's place on the network: what a
// lease is, what every guest sees, and what a policy is made of, with the words
// in which people write it: destinations, domains, IPv6. How a lease is made on a
// particular system lives in the sub-packages (island for Linux); nothing here
// touches the kernel.
package network

import (
	"context"
	"net/netip"
)

// Every guest sees the same tiny network, so that a clone, a fork and the
// image build all boot with one network configuration. 198.18.0.0/15 is set
// aside for benchmarks (RFC 2544): no LAN and no public service uses it.
const (
	GuestMAC   = "02:6d:66:00:00:02"
	GatewayMAC = "02:6d:66:00:00:01"
	// TAP is the name of the device inside the lease's namespace that a
	// virtual machine attaches to.
	TAP = "tap0"
	// Peer is the other end of TAP where the lease is one for a container,
	// which takes it into a namespace of its own; TAP is a veth device then.
	Peer = "eth0"
	// SSHPort is where a guest's SSH server listens.
	SSHPort = 22
	// DNSPort is where a guest asks its gateway for names.
	DNSPort = 53
)

// Guest is the guest's address with its prefix, Gateway its default route and
// its name server.
var (
	Guest   = netip.MustParsePrefix("198.18.0.2/30")
	Gateway = netip.MustParseAddr("198.18.0.1")
)

// Lease is one worker's place on the network.
type Lease struct {
	// Worker is the id of the worker that holds the lease.
	Worker string `json:"worker"`
	// Namespace is the path of the network namespace to run the machine in;
	// empty when the backend brings a network of its own.
	Namespace string `json:"namespace,omitempty"`
	// Address is where this host reaches the worker; the zero Addr when the
	// backend brings a network of its own.
	Address netip.Addr `json:"address,omitzero"`
	// MTU is how long a packet of the guest may be, in bytes; zero for the usual
	// UsualMTU.
	MTU int `json:"mtu,omitempty"`
	// IPv6 says that the guest has Guest6, and Gateway6 a way out.
	IPv6 bool `json:"ipv6,omitempty"`
	// Search are the domains that the guest looks names up in that have no dot,
	// separated by blanks.
	Search string `json:"search,omitempty"`
	// Queues is how many pairs of queues TAP has, for a machine to attach to with as
	// many. With one, or 0, it is a device without several queues, which is another
	// kind to the kernel.
	Queues int `json:"queues,omitempty"`
}

// MostQueues bounds the pairs of queues of a network device: each takes memory of the
// host and interrupts of the guest.
const MostQueues = 8

// Queues is how many pairs of queues the network device of a machine with so many
// processors has: one for each, so that none waits for another to send.
func Queues(cpus int) int { return min(max(cpus, 1), MostQueues) }

// SSH is where this host reaches the worker's SSH server.
func (l Lease) SSH() netip.AddrPort { return netip.AddrPortFrom(l.Address, SSHPort) }

// UsualMTU is what a link takes of which nothing is said, in bytes.
const UsualMTU = 1500

// Network hands out leases. All methods may be called concurrently.
type Network interface {
	// Open prepares what all leases of the pool share. It is idempotent and
	// mends what it finds half made.
	Open(ctx context.Context) error
	// Acquire makes a lease for a worker that has none. When it fails,
	// nothing of the lease is left.
	Acquire(ctx context.Context, worker string) (Lease, error)
	// Release removes everything of a worker's lease. It is idempotent: a
	// lease that does not exist, or half exists, is no error.
	Release(ctx context.Context, worker string) error
	// Find lists the workers of this pool of which anything exists on this
	// host, found without our memory.
	Find(ctx context.Context) ([]string, error)
	// Close removes what all leases share. The pool calls it when its last
	// lease is gone.
	Close(ctx context.Context) error
}

// Parker is a network whose leases can be put away.
type Parker interface {
	// Park removes everything of a worker's lease but its address, which stays
	// the worker's, also when the host starts anew. It is idempotent.
	Park(ctx context.Context, worker string) error
	// Unpark makes a parked lease again, with the address that it had, or with another
	// where it has none, and with as many queues as are given, since a machine that was
	// saved fits no other number. When it fails, the lease is parked as before.
	Unpark(ctx context.Context, worker string, queues int) (Lease, error)
}

// Cutter is a network that can keep a worker off it without its machine's notice:
// nothing comes through in either direction, and the link is up all the same.
type Cutter interface {
	CutOff(ctx context.Context, worker string) error
	// Connect undoes CutOff. It is idempotent.
	Connect(ctx context.Context, worker string) error
}

// Isolator is a network that can keep a worker's guest from beginning anything.
type Isolator interface {
	// Isolate lets nothing of the guest out but answers to what this host began, such as
	// a login, for as long as the lease is there. It is idempotent.
	Isolate(ctx context.Context, worker string) error
}

// Denier is a network that counts what its policy denies.
type Denier interface {
	// Denied returns how many packets each worker of the pool was denied so far.
	// It only looks, and may be called from another process than the pool's.
	Denied(ctx context.Context) (map[string]uint64, error)
}

// Accountant is a network that can tell what went over a worker's link.
type Accountant interface {
	// Traffic is asked before Release and before Park. It only looks.
	Traffic(worker string) (Traffic, error)
}

// Traffic is what went over a worker's link, as the worker sees it.
type Traffic struct {
	BytesIn, BytesOut int64
	// Denied is how many packets the policy has denied, To the first destinations of
	// them, where they are logged.
	Denied int64
	To     []DeniedTo
}

// DeniedTo is how many packets to one destination were denied.
type DeniedTo struct {
	Protocol, To string
	Packets      int64
}

// Guard is a network that keeps the rules around its workers in place, whoever
// removes them.
type Guard interface {
	// Await returns when a worker that has a lease has all rules around it. It fails
	// when some are gone that are not put back.
	Await(ctx context.Context, worker string) error
	// Unguarded says, by worker, which rules those workers lack now that lack any.
	// It only looks, and may be called from another process than the pool's.
	Unguarded(ctx context.Context) (map[string]string, error)
}

// None is the Network of backends that bring their own.
type None struct{}

var (
	_ Network = None{}
	_ Parker  = None{}
)

// Open does nothing.
func (None) Open(context.Context) error { return nil }

// Acquire returns a lease without namespace and address.
func (None) Acquire(_ context.Context, worker string) (Lease, error) {
	return Lease{Worker: worker}, nil
}

// Park does nothing.
func (None) Park(context.Context, string) error { return nil }

// Unpark returns what Acquire does.
func (n None) Unpark(ctx context.Context, worker string, _ int) (Lease, error) {
	return n.Acquire(ctx, worker)
}

// Release does nothing.
func (None) Release(context.Context, string) error { return nil }

// Find finds nothing.
func (None) Find(context.Context) ([]string, error) { return nil, nil }

// Close does nothing.
func (None) Close(context.Context) error { return nil }
