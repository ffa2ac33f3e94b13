//go:build linux

package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Apply puts the table in place of any of its name, in the calling thread's
// network namespace and in one transaction: all of it or nothing. Applying
// twice changes nothing.
func Apply(t Table) error {
	_, err := ApplyFrom(t)
	return err
}

// ApplyFrom is Apply, and returns the netlink port that it did so from, which the
// kernel tells those who listen to changes.
func ApplyFrom(t Table) (port uint32, err error) {
	err = apply(t, renew, nftables.WithSockOptions(func(conn *netlink.Conn) (err error) {
		port, err = portOf(conn)
		return err
	}))
	return port, err
}

func portOf(conn *netlink.Conn) (port uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) {
		var own unix.Sockaddr
		if own, err = unix.Getsockname(int(fd)); err == nil {
			port = own.(*unix.SockaddrNetlink).Pid
		}
	})
	return port, errors.Join(failed, err)
}

// Add is Apply for a network namespace that has no table of that name. A new
// one costs a tenth of one that may replace another: the kernel then waits, for
// ten milliseconds and more, until nothing in it can still look at the old one.
func Add(t Table) error { return apply(t, begin) }

func apply(t Table, start func(*nftables.Conn, string) *nftables.Table, options ...nftables.ConnOption) error {
	conn, err := nftables.New(options...)
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	table := start(conn, t.name)
	sets := make(map[string]*nftables.Set)
	for n, set := range t.sets {
		sets[set.name] = kernelSet(table, n, set)
		if err := conn.AddSet(sets[set.name], elements(set.prefixes)); err != nil {
			return fmt.Errorf("filling set %s of table %s: %w", set.name, t.name, err)
		}
	}
	for _, chain := range t.chains {
		c := conn.AddChain(&nftables.Chain{
			Table: table, Name: chain.name, Type: chain.at.kind, Hooknum: chain.at.num, Priority: chain.at.priority,
		})
		for _, rule := range chain.rules {
			var exprs []expr.Any
			for _, match := range rule.matches {
				exprs = append(exprs, match.expressions(sets)...)
			}
			exprs = append(exprs, rule.action.expressions(sets)...)
			conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: exprs})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("applying nftables table inet %s: %w", t.name, err)
	}
	return nil
}

// renew adds the table first because only what exists can be deleted.
func renew(conn *nftables.Conn, name string) *nftables.Table {
	conn.DelTable(conn.AddTable(inet(name)))
	return begin(conn, name)
}

func begin(conn *nftables.Conn, name string) *nftables.Table { return conn.AddTable(inet(name)) }

func inet(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
}

// Remove removes the table from the calling thread's network namespace. It is
// idempotent.
func Remove(name string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	conn.DelTable(conn.AddTable(inet(name)))
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("removing nftables table inet %s: %w", name, err)
	}
	return nil
}

// Name is the table's.
func (t Table) Name() string { return t.name }
