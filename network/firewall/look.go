//go:build linux

package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// State is how much there is of a table.
type State string

// A table is incomplete when a chain of it has no rules, or it is dormant: that is
// all that can be told without the policy that it was made for.
const (
	Missing    State = "missing"
	Incomplete State = "incomplete"
	Complete   State = "complete"
)

// HostState is that of the host's table of the pool with this scope, in the calling
// thread's network namespace.
func HostState(scope string) (State, error) { return state(Host(HostPolicy{Scope: scope}), hasRules) }

// NamespaceState is that of the table of a worker's namespace, which the calling
// thread is in.
func NamespaceState() (State, error) { return state(Namespace(Policy{}), hasRules) }

func hasRules(_ chain, rules int) bool { return rules > 0 }

// Whole says whether the calling thread's network namespace has the table with
// all its chains and rules. It counts the rules, and does not read them.
func Whole(t Table) (bool, error) {
	found, err := state(t, func(c chain, rules int) bool { return rules == len(c.rules) })
	return found == Complete, err
}

// state is complete when each chain has as many rules as are enough.
func state(t Table, enough func(chain, int) bool) (State, error) {
	table, err := find(t.name)
	if err != nil || table == nil {
		return Missing, err
	}
	rules, err := netlinkdump.RuleCount(unix.NFPROTO_INET, t.name)
	if err != nil {
		return Missing, err
	}
	lacks := func(c chain) bool { return !enough(c, rules[c.name]) }
	if table.Flags != 0 || slices.ContainsFunc(t.chains, lacks) { // a dormant table is as good as none
		return Incomplete, nil
	}
	return Complete, nil
}

// Exists says whether the calling thread's network namespace has the table.
func Exists(name string) (bool, error) {
	table, err := find(name)
	return table != nil, err
}

// find returns nil for a table that is not there. It asks for that one alone: others
// who change theirs meanwhile would interrupt a list.
func find(name string) (*nftables.Table, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	table, err := conn.ListTableOfFamily(name, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for nftables table inet %s: %w", name, err)
	}
	return table, nil
}
