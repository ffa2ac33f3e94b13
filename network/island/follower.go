//go:build linux

package island

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/changes"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// follower keeps the leases of this process right whatever others change on the
// host, until it is closed: where that hears, and which of its links forward.
type follower struct {
	listener         *changes.Listener
	host, forwarding chore
	cancel           context.CancelFunc
	running          sync.WaitGroup
}

func (i *Island) newFollower() (*follower, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{cancel: cancel}
	f.host = newChore("workers' own rules do not deny them all addresses of the host",
		func(context.Context) error { return i.followHost() })
	f.forwarding = newChore("links that workers need may not forward", i.forwardAgain)
	var err error
	if f.listener, err = changes.OfLinks(func(c changes.Links) { f.hear(i, c) }); err != nil {
		cancel()
		return nil, err
	}
	f.running.Go(func() { f.host.run(ctx, i.log) })
	f.running.Go(func() { f.forwarding.run(ctx, i.log) })
	return f, nil
}

func (f *follower) Close() error {
	f.cancel()
	err := f.listener.Close()
	f.running.Wait()
	return err
}

// hear only asks for what is to be done: whoever listens slowly misses changes.
func (f *follower) hear(i *Island, change changes.Links) {
	if change.Missed || change.Heard.IsValid() && i.concerns(change.Heard) {
		f.host.ask()
	}
	if change.Missed || change.Routed.IsValid() && i.isWay(change.Routed) || i.isNeeded(change.Unforwarding) {
		f.forwarding.ask()
	}
}

// concerns says whether it matters to leases that the host begins, or ceases, to
// hear somewhere. That it does so on their own links is known.
func (i *Island) concerns(heard netip.Prefix) bool {
	isSpoken := heard.Addr().Is4() || i.options.IPv6.On
	return isSpoken && !isOnLink(heard) && !slices.Contains(i.gateways(), heard.Addr())
}

// isWay says whether a route to there may be one that workers leave by, see ways.
// Those to workers are none.
func (i *Island) isWay(to netip.Prefix) bool {
	if to.Bits() == 0 {
		return true
	}
	toWorker := func(subnet netip.Prefix) bool { return subnet.Contains(to.Addr()) }
	ipv4, ipv6 := networks(i.options.Allow)
	return slices.ContainsFunc(slices.Concat(ipv4, ipv6), to.Overlaps) && !slices.ContainsFunc(i.subnets(), toWorker)
}

// isNeeded says whether the link with an index may be one that forwards for a
// lease.
func (i *Island) isNeeded(index int) bool {
	names := i.leases.names()
	if index == 0 || len(names) == 0 {
		return false
	}
	if index == changes.AllLinks {
		return true
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return !isGone(err)
	}
	name := link.Attrs().Name
	return slices.Contains(names, name) || !strings.HasPrefix(name, firewall.LinkPrefix)
}

// chore is what is to be done whenever it is asked for, until it succeeds.
type chore struct {
	failed string // what it means when it does not
	do     func(context.Context) error
	asked  chan struct{} // holds one: what is asked for twice is done once
}

func newChore(failed string, do func(context.Context) error) chore {
	return chore{failed, do, make(chan struct{}, 1)}
}

// ask has it done soon.
func (c chore) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// run does it until the context ends. What fails is tried again after a pause, which
// is doubled each time.
func (c chore) run(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-c.asked:
		case <-ctx.Done():
			return
		}
		for pause := retry; ; pause = min(2*pause, longestPause) {
			err := c.do(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			log.Error(c.failed, "err", err, "again_in", pause)
			if sleep(ctx, pause) != nil {
				return
			}
		}
	}
}
