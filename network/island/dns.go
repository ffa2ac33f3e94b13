//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/nameserver"
)

// answering says who answers the guests' questions: one resolver that the
// kernel redirects them to, or the relay, which can do what the kernel cannot,
// or nobody.
type answering struct {
	redirect netip.Addr
	relay    bool
}

func (a answering) nobody() bool { return !a.redirect.IsValid() && !a.relay }

// answering is for workers that leave by the exit. What the kernel redirects is
// forwarded by the host, to where the resolver is and back: a resolver elsewhere
// than at the exit, or on the host itself, is the relay's.
func (i *Island) answering(out exit) (answering, error) {
	by := answer(i.resolvers(), len(i.options.Domains) > 0)
	if !by.redirect.IsValid() {
		return by, nil
	}
	link, err := linkTo(single(by.redirect))
	if err != nil {
		return answering{}, err
	}
	if link != "" && link != out.name {
		return answering{relay: true}, nil
	}
	return by, nil
}

// answer has the relay do it only where that is needed: the kernel is quicker,
// but knows one resolver, which is not to be on a loopback address of the host,
// no IPv6 and no names.
func answer(resolvers []netip.Addr, byName bool) answering {
	if len(resolvers) == 1 && !byName && resolvers[0].Is4() && !resolvers[0].IsLoopback() {
		return answering{redirect: resolvers[0]}
	}
	return answering{relay: len(resolvers) > 0}
}

// resolvers are read for every lease, and by the relay for every question: a
// laptop changes networks.
func (i *Island) resolvers() []netip.Addr {
	if len(i.options.DNS) > 0 {
		return i.options.DNS
	}
	return hostResolvers(resolvConfs)
}

// resolvConfs are the files that may name the host's resolvers. The second is
// where systemd-resolved keeps the real ones when the first names only its
// stub on a loopback address.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// hostResolvers returns the resolvers of the first file that names one which is not
// on a loopback address, else those that are.
func hostResolvers(files []string) []netip.Addr {
	var loopback []netip.Addr
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var outside []netip.Addr
		for _, addr := range nameservers(string(text)) {
			if addr.IsLoopback() {
				loopback = append(loopback, addr)
			} else {
				outside = append(outside, addr)
			}
		}
		if len(outside) > 0 {
			return outside
		}
	}
	return loopback
}

// nameservers returns the resolvers that a resolv.conf names.
func nameservers(conf string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			found = append(found, addr.Unmap())
		}
	}
	return found
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
	i.services.add(name, nameserver.Serve(udp, tcp, nameserver.Options{
		Names: i.names,
		Resolvers: func() []netip.AddrPort {
			var all []netip.AddrPort
			for _, resolver := range i.resolvers() {
				all = append(all, netip.AddrPortFrom(resolver, network.DNSPort))
			}
			return all
		},
		Learn: i.learner(name),
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
