package firewall

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// Learnt is an address that a guest may reach for some time, which is at least
// a millisecond.
type Learnt struct {
	Addr netip.Addr
	For  time.Duration
}

// Learn opens the addresses to the guest of the calling thread's network
// namespace, all of them or none; those that are open already for their new
// time. Its rules are those of a Policy with Domains. IPv6 addresses are skipped
// where the guest has no IPv6.
func Learn(addresses []Learnt, ipv6 bool) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	for _, f := range spoken(ipv6, learnSets) {
		set := kernelSet(inet(NamespaceTable), 0, Set{Name: f.name, Kind: f.kind})
		if err := renewElements(conn, set, timed(addresses, f.kind == TimedAddresses6)); err != nil {
			return fmt.Errorf("learning addresses: %w", err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("learning %d addresses: %w", len(addresses), err)
	}
	return nil
}

func timed(addresses []Learnt, ipv6 bool) []nftables.SetElement {
	latest := make(map[netip.Addr]time.Duration)
	for _, a := range addresses {
		if addr := a.Addr.Unmap(); addr.Is6() == ipv6 {
			latest[addr] = max(latest[addr], a.For)
		}
	}
	var elements []nftables.SetElement
	for addr, lasts := range latest {
		elements = append(elements, nftables.SetElement{Key: addr.AsSlice(), Timeout: lasts})
	}
	return elements
}

// renewElements adds them first because only what exists can be deleted, and
// again because adding what exists leaves its old time.
func renewElements(conn *nftables.Conn, set *nftables.Set, elements []nftables.SetElement) error {
	if len(elements) == 0 {
		return nil
	}
	if err := conn.SetAddElements(set, elements); err != nil {
		return err
	}
	if err := conn.SetDeleteElements(set, elements); err != nil {
		return err
	}
	return conn.SetAddElements(set, elements)
}
