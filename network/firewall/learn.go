//go:build linux

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
	for _, f := range usedSets(ipv6, learnSets) {
		kernel := kernelSet(inet(NamespaceTable), 0, set{name: f.name, kind: f.kind})
		if err := renewElements(conn, kernel, timed(addresses, f.kind == timeouts6)); err != nil {
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
func renewElements(conn *nftables.Conn, in *nftables.Set, elements []nftables.SetElement) error {
	if len(elements) == 0 {
		return nil
	}
	if err := conn.SetAddElements(in, elements); err != nil {
		return err
	}
	if err := conn.SetDeleteElements(in, elements); err != nil {
		return err
	}
	return conn.SetAddElements(in, elements)
}
