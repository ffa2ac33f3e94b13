package firewall

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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
	table := start(conn, t.Name)
	sets := make(map[string]*nftables.Set)
	for n, set := range t.Sets {
		sets[set.Name] = kernelSet(table, n, set)
		if err := conn.AddSet(sets[set.Name], elements(set.Prefixes)); err != nil {
			return fmt.Errorf("filling set %s of table %s: %w", set.Name, t.Name, err)
		}
	}
	for _, chain := range t.Chains {
		c := conn.AddChain(kernelChain(table, chain))
		for _, rule := range chain.Rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: expressions(rule, sets)})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("applying nftables table inet %s: %w", t.Name, err)
	}
	return nil
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

// renew adds the table first because only what exists can be deleted.
func renew(conn *nftables.Conn, name string) *nftables.Table {
	conn.DelTable(conn.AddTable(inet(name)))
	return begin(conn, name)
}

func begin(conn *nftables.Conn, name string) *nftables.Table { return conn.AddTable(inet(name)) }

func inet(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
}

func kernelChain(table *nftables.Table, c Chain) *nftables.Chain {
	chain := &nftables.Chain{Table: table, Name: c.Name, Type: nftables.ChainTypeFilter}
	switch c.Hook {
	case Nowhere:
		chain.Type = ""
	case Raw:
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityRaw
	case DestinationNAT:
		chain.Type = nftables.ChainTypeNAT
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case Input:
		chain.Hooknum, chain.Priority = nftables.ChainHookInput, nftables.ChainPriorityFilter
	case Mangle:
		chain.Hooknum, chain.Priority = nftables.ChainHookForward, nftables.ChainPriorityMangle
	case Forward:
		chain.Hooknum, chain.Priority = nftables.ChainHookForward, nftables.ChainPriorityFilter
	case SourceNAT:
		chain.Type = nftables.ChainTypeNAT
		chain.Hooknum, chain.Priority = nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource
	}
	return chain
}

func expressions(r Rule, sets map[string]*nftables.Set) []expr.Any {
	var all []expr.Any
	for _, match := range r.Match {
		all = append(all, condition(match, sets)...)
	}
	return append(all, consequence(r.Do, sets)...)
}
