package island

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/nameserver"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/packetlog"
)

// attendants are what this process runs for leases, beside what the kernel does
// by itself: relays of DNS and readers of packet logs, by namespace. Their
// sockets are in the namespaces, which live on until they are closed.
type attendants struct {
	mu sync.Mutex
	of map[string][]io.Closer
}

func (a *attendants) add(name string, c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = make(map[string][]io.Closer)
	}
	a.of[name] = append(a.of[name], c)
}

// dismiss ends those of a namespace. It is idempotent.
func (a *attendants) dismiss(name string) error {
	a.mu.Lock()
	closers := a.of[name]
	delete(a.of, name)
	a.mu.Unlock()
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// attend starts what the policy wants for the worker whose namespace, which the
// thread is in, is called name.
func (i *Island) attend(worker, name string, by answering) error {
	if i.options.LogDenied {
		if err := i.logDenied(worker, name); err != nil {
			return err
		}
	}
	if !by.relay {
		return nil
	}
	return i.serveNames(worker, name)
}

// resolvers are asked for by every lease, and by the relay for every question: a
// laptop changes networks.
func (i *Island) resolvers() []netip.Addr {
	if len(i.options.DNS) > 0 {
		return i.options.DNS
	}
	return hostResolvers(resolvConfs)
}

// answering is for workers that leave by the exit. What the kernel redirects is
// forwarded by the host, to where the resolver is and back: a resolver elsewhere
// than at the exit, or on the host itself, is the relay's.
func (i *Island) answering(out exit) (answering, error) {
	by := answer(i.resolvers(), len(i.options.Domains) > 0)
	if !by.redirect.IsValid() {
		return by, nil
	}
	link, err := linkTo(host(by.redirect))
	if err != nil {
		return answering{}, err
	}
	if link != "" && link != out.name {
		return answering{relay: true}, nil
	}
	return by, nil
}

// logDenied logs what the namespace that the thread is in denies its guest.
func (i *Island) logDenied(worker, name string) error {
	listener, err := packetlog.Listen(firewall.LogGroup, func(p packetlog.Packet) { i.logPacket(worker, p) })
	if err != nil {
		return err
	}
	i.attendants.add(name, listener)
	return nil
}

func (i *Island) logPacket(worker string, p packetlog.Packet) {
	i.log.Warn("denied", "worker", worker, "protocol", p.ProtocolName(), "from", written(p.Source), "to", written(p.Destination))
}

// written leaves out a port where there is none.
func written(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// serveNames has a relay answer on the gateway's address in the namespace that
// the thread is in. Its own questions leave from the host's.
func (i *Island) serveNames(worker, name string) error {
	address := netip.AddrPortFrom(network.Gateway, network.DNSPort)
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return fmt.Errorf("answering DNS questions of %s: %w", worker, err)
	}
	tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return errors.Join(fmt.Errorf("answering DNS questions of %s: %w", worker, err), udp.Close())
	}
	i.attendants.add(name, nameserver.Serve(udp, tcp, nameserver.Options{
		Names:     i.names,
		Resolvers: func() []netip.AddrPort { return asked(i.resolvers()) },
		Learn:     i.learner(name),
		Refused: func(asked string) {
			i.log.Warn("refused a name that network.domains does not hold", "worker", worker, "name", asked)
		},
		Log: i.log.With("worker", worker),
	}))
	return nil
}

// An address is open for as long as its answer says, but not for less than many
// programs keep it without asking again, and not for ever.
const (
	leastLearnt = 10 * time.Minute
	mostLearnt  = 24 * time.Hour
)

// learner opens addresses to the guest of a namespace; nil where all are open.
func (i *Island) learner(name string) func(context.Context, []nameserver.Learnt) error {
	if len(i.options.Domains) == 0 {
		return nil
	}
	var oneByOne sync.Mutex // each takes a thread
	return func(ctx context.Context, answers []nameserver.Learnt) error {
		oneByOne.Lock()
		defer oneByOne.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		var learnt []firewall.Learnt
		for _, a := range answers {
			learnt = append(learnt, firewall.Learnt{Addr: a.Addr, For: min(max(a.TTL, leastLearnt), mostLearnt)})
		}
		return Do(namespacePath(name), func() error { return firewall.Learn(learnt, i.options.IPv6.On) })
	}
}
