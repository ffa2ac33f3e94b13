//go:build linux

package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Apply puts the table in place of any of its name, in the calling thread's
// network namespace and in one transaction: all of it or nothing. Applying
// twice changes nothing.
func Apply(t Table) error { return apply(t, renew) }

// Add is Apply for a network namespace that has no table of that name. A new
// one costs a tenth of one that may replace another: the kernel then waits, for
// ten milliseconds and more, until nothing in it can still look at the old one.
func Add(t Table) error { return apply(t, begin) }

func apply(t Table, start func(*nftables.Conn, string) *nftables.Table) error {
	conn, err := nftables.New()
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

// Exists says whether the calling thread's network namespace has the table. It
// asks for that one alone: others who change theirs meanwhile would interrupt a
// list.
func Exists(name string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	_, err = conn.ListTableOfFamily(name, nftables.TableFamilyINet)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for nftables table inet %s: %w", name, err)
	}
	return true, nil
}

// Whole says whether the calling thread's network namespace has the table with
// all its chains and rules. It counts the rules, and does not read them.
func Whole(t Table) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	found, err := conn.ListTableOfFamily(t.name, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at nftables table inet %s: %w", t.name, err)
	}
	rules, err := netlinkdump.RuleCount(unix.NFPROTO_INET, t.name)
	if err != nil {
		return false, err
	}
	wrong := func(c chain) bool { return rules[c.name] != len(c.rules) }
	return found.Flags == 0 && !slices.ContainsFunc(t.chains, wrong), nil // a dormant table is as good as none
}

// Name is the table's.
func (t Table) Name() string { return t.name }
