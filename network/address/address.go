// Package address keeps which addresses of a pool's subnet are taken, in a
// directory that all pools of a host share. How that is kept is package claim's
// business; what an address is used for, and whether the kernel agrees, is not
// known here.
package address

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/claim"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Book is the list of taken addresses.
type Book struct {
	claims *claim.Book
	subnet network.Subnet
}

// New returns the book in dir, giving out addresses of subnet. The first Take
// makes the directory; until then nothing is taken.
func New(dir string, subnet netip.Prefix) (*Book, error) {
	s := network.Subnet(subnet)
	if s.Capacity() == 0 {
		return nil, fmt.Errorf("subnet %s has no room for a worker: want an IPv4 subnet of /30 or larger", subnet)
	}
	s = network.Subnet(subnet.Masked())
	return &Book{subnet: s, claims: claim.New(dir, claim.Stock{
		Name: strings.ReplaceAll(netip.Prefix(s).String(), "/", "-"),
		Size: s.Capacity(),
		After: func(name string) string {
			addr, _ := netip.ParseAddr(name) // the zero value is outside the subnet
			return s.After(addr).String()
		},
		Valid: func(name string) bool {
			_, err := netip.ParseAddr(name)
			return err == nil
		},
	})}, nil
}

// Take gives the owner the next free address after the one given last, so that
// an address just given back rests before somebody else is found there.
// An owner that finds its address unusable takes again: it holds both then, so
// that nobody else is given the first. After an error the owner holds no more than
// before.
func (b *Book) Take(ctx context.Context, owner string) (netip.Addr, error) {
	name, err := b.claims.Take(ctx, owner)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("taking an address of %s: %w", netip.Prefix(b.subnet), err)
	}
	return netip.ParseAddr(name)
}

// Give gives back those of the held addresses, as Held returns them, that are
// still the owner's. It is idempotent.
func (b *Book) Give(owner string, held []netip.Addr) error {
	names := make([]string, len(held))
	for i, addr := range held {
		names[i] = addr.String()
	}
	if err := b.claims.Give(owner, names); err != nil {
		return fmt.Errorf("giving back the addresses of %s: %w", owner, err)
	}
	return nil
}

// Held returns the addresses that the owner has, in order, of every subnet in the
// directory: a pool whose subnet was changed still finds what it had before.
func (b *Book) Held(owner string) ([]netip.Addr, error) {
	owners, err := b.Owners()
	if err != nil {
		return nil, err
	}
	var held []netip.Addr
	for addr, o := range owners {
		if o == owner {
			held = append(held, addr)
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	return held, nil
}

// Owners returns who has which address, of every subnet in the directory. It
// takes no lock, so that nobody waits: what is taken or given back meanwhile may
// be in it or not.
func (b *Book) Owners() (map[netip.Addr]string, error) {
	claims, err := b.claims.Owners()
	if err != nil {
		return nil, fmt.Errorf("looking who has which address: %w", err)
	}
	owners := make(map[netip.Addr]string, len(claims))
	for name, owner := range claims {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return nil, err
		}
		owners[addr] = owner
	}
	return owners, nil
}

// Foreign says what lies in the place of addresses' files and no book has written.
// Such an address is given to nobody.
func (b *Book) Foreign() []error { return b.claims.Foreign() }
