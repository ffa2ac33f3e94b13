//go:build linux

package island

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/packetlog"
)

// Denied returns how many packets each worker of the pool was denied, inside its
// namespace and by the host. It only looks, from whatever process, and sees
// nothing unless that is root's.
func (i *Island) Denied(context.Context) (map[string]uint64, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names, err := listNamespaces()
	if err != nil {
		return nil, err
	}
	byLink, err := firewall.DeniedByLink(i.scope)
	if err != nil {
		return nil, err
	}
	denied := make(map[string]uint64)
	var errs []error
	for _, name := range names {
		worker, ok := i.worker(name)
		if !ok {
			continue
		}
		inside, err := deniedInside(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("looking at %s: %w", worker, err))
			continue
		}
		denied[worker] = inside + byLink[name]
	}
	return denied, errors.Join(errs...)
}

// deniedInside counts nothing for a lease that is half made or has just gone.
func deniedInside(name string) (packets uint64, err error) {
	err = Do(namespacePath(name), func() error {
		exists, err := firewall.Exists(firewall.NamespaceTable)
		if err != nil || !exists {
			return err
		}
		packets, err = firewall.Denied()
		return err
	})
	if isNoNamespace(err) {
		return 0, nil
	}
	return packets, err
}

// logDenied logs what the namespace that the thread is in denies its guest.
func (i *Island) logDenied(worker, name string) error {
	listener, err := packetlog.Listen(firewall.LogGroup, func(p packetlog.Packet) { i.logPacket(worker, p) })
	if err != nil {
		return err
	}
	i.services.add(name, listener)
	return nil
}

// ofHost is in the place of a namespace's name for what reads the host's log.
const ofHost = ""

// logDeniedByHost logs what the host denies workers, until the island is closed
// or opened again. A log that somebody else reads stops no worker.
func (i *Island) logDeniedByHost() error {
	if err := i.services.end(ofHost); err != nil || !i.options.LogDenied {
		return err
	}
	listener, err := packetlog.Listen(i.hostLogGroup(), func(p packetlog.Packet) {
		link, err := netlink.LinkByIndex(p.In)
		if err != nil {
			return // it has gone
		}
		if worker, ok := i.worker(link.Attrs().Name); ok {
			i.logPacket(worker, p)
		}
	})
	if err != nil {
		i.log.Warn("what the host denies workers is not logged", "err", err)
		return nil
	}
	i.services.add(ofHost, listener)
	return nil
}

// hostLogGroup is where the host's rules of the pool log to, zero for nowhere. It
// is derived from the scope, beyond the small numbers that people choose: pools
// do not agree on anything but addresses.
func (i *Island) hostLogGroup() uint16 {
	if !i.options.LogDenied {
		return 0
	}
	const chosenByPeople = 1 << 10
	sum := sha256.Sum256([]byte(i.scope))
	return chosenByPeople + binary.BigEndian.Uint16(sum[:])%(1<<16-chosenByPeople)
}

// mostRefused is of how many destinations of one worker the denied packets are counted.
const mostRefused = 20

// refused are the denied packets that were logged, by worker and destination.
type refused struct {
	mu sync.Mutex
	of map[string][]network.DeniedTo
}

func (r *refused) add(worker, protocol, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.of[worker]
	i := slices.IndexFunc(all, func(d network.DeniedTo) bool { return d.Protocol == protocol && d.To == to })
	switch {
	case i >= 0:
		all[i].Packets++
	case len(all) < mostRefused:
		if r.of == nil {
			r.of = make(map[string][]network.DeniedTo)
		}
		r.of[worker] = append(all, network.DeniedTo{Protocol: protocol, To: to, Packets: 1})
	}
}

// take returns those of a worker, and forgets them.
func (r *refused) take(worker string) []network.DeniedTo {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.of[worker]
	delete(r.of, worker)
	return all
}

// Traffic counts at the host's end of the worker's link, beyond its namespace.
func (i *Island) Traffic(worker string) (network.Traffic, error) {
	to := i.refused.take(worker)
	name, err := i.name(worker)
	if err != nil {
		return network.Traffic{}, err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return network.Traffic{}, fmt.Errorf("looking at link %s: %w", name, err)
	}
	inside, err := deniedInside(name)
	if err != nil {
		return network.Traffic{}, err
	}
	byLink, err := firewall.DeniedByLink(i.scope)
	if err != nil {
		return network.Traffic{}, err
	}
	traffic := network.Traffic{Denied: int64(inside + byLink[name]), To: to}
	if passed := link.Attrs().Statistics; passed != nil {
		traffic.BytesIn, traffic.BytesOut = int64(passed.TxBytes), int64(passed.RxBytes)
	}
	return traffic, nil
}

func (i *Island) logPacket(worker string, p packetlog.Packet) {
	written := func(a netip.AddrPort) string {
		if a.Port() == 0 { // the protocol has no ports
			return a.Addr().String()
		}
		return a.String()
	}
	i.refused.add(worker, p.ProtocolName(), written(p.Destination))
	i.log.Warn("denied", "worker", worker, "protocol", p.ProtocolName(),
		"from", written(p.Source), "to", written(p.Destination))
}
