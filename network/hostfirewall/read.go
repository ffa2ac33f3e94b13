//go:build linux

package hostfirewall

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Read returns the rules of the calling thread's network namespace that packets
// of workers may meet, but for tables whose name begins with ours.
func Read(ours string) (Ruleset, error) {
	return netlinkdump.Settled(func() (Ruleset, error) { return read(ours) })
}

// families are those whose hooks see IP packets, as nft names them.
var families = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet",
	nftables.TableFamilyIPv4: "ip",
	nftables.TableFamilyIPv6: "ip6",
}

func read(ours string) (Ruleset, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing nftables chains: %w", err)
	}
	var rules Ruleset
	tables := make(map[nftables.Table]Table)
	for _, c := range chains {
		if families[c.Table.Family] == "" || hook(c) == NoHook || strings.HasPrefix(c.Table.Name, ours) {
			continue
		}
		key := nftables.Table{Family: c.Table.Family, Name: c.Table.Name}
		table, ok := tables[key]
		if !ok {
			table = Table{Family: families[key.Family], Name: key.Name, Chains: make(map[string]Chain)}
			tables[key] = table
			rules = append(rules, table)
		}
		reader := reader{conn: conn, table: &key, chains: table.Chains}
		if err := reader.readAll(c); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func hook(c *nftables.Chain) Hook {
	switch {
	case c.Hooknum == nil:
		return NoHook
	case *c.Hooknum == *nftables.ChainHookInput:
		return Input
	case *c.Hooknum == *nftables.ChainHookForward:
		return Forward
	}
	return NoHook
}

// reader reads chains of a table into a map.
type reader struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains map[string]Chain
}

// readAll reads a chain that has a hook, and those that it leads to.
func (r *reader) readAll(base *nftables.Chain) error {
	chain := Chain{Hook: hook(base), Drops: base.Policy != nil && *base.Policy == nftables.ChainPolicyDrop}
	queue := []string{base.Name}
	for n := 0; n < len(queue); n++ {
		name := queue[n]
		if _, done := r.chains[name]; done {
			continue
		}
		rules, err := r.rules(name)
		if err != nil {
			return fmt.Errorf("reading chain %s of table %s: %w", name, r.table.Name, err)
		}
		chain.Rules = rules
		r.chains[name] = chain
		chain = Chain{}
		for _, rule := range rules {
			if rule.Then.Chain != "" {
				queue = append(queue, rule.Then.Chain)
			}
		}
	}
	return nil
}

func (r *reader) rules(chain string) ([]Rule, error) {
	listed, err := r.conn.GetRules(r.table, &nftables.Chain{Table: r.table, Name: chain})
	if err != nil {
		return nil, err
	}
	var rules []Rule
	var errs []error
	for _, l := range listed {
		meaning := translation{set: r.set}
		for _, e := range l.Exprs {
			meaning.add(e)
		}
		rules = append(rules, meaning.rules()...)
		errs = append(errs, meaning.err)
	}
	return rules, errors.Join(errs...)
}

func (r *reader) set(name string) ([]nftables.SetElement, error) {
	elements, err := r.conn.GetSetElements(&nftables.Set{Table: r.table, Name: name})
	if err != nil {
		return nil, fmt.Errorf("reading set %s: %w", name, err)
	}
	return elements, nil
}
