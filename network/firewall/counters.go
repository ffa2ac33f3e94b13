//go:build linux

package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Denied returns how many packets of its guest the calling thread's network
// namespace has denied.
func Denied() (uint64, error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, fmt.Errorf("opening nftables: %w", err)
	}
	table := inet(NamespaceTable)
	rules, err := netlinkdump.Settled(func() ([]*nftables.Rule, error) {
		return conn.GetRules(table, &nftables.Chain{Table: table, Name: deniedChain})
	})
	if err != nil {
		return 0, fmt.Errorf("reading what was denied: %w", err)
	}
	if len(rules) > 0 {
		for _, e := range rules[len(rules)-1].Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				return counter.Packets, nil
			}
		}
	}
	return 0, fmt.Errorf("reading what was denied: table inet %s counts nothing", NamespaceTable)
}

// DeniedByLink returns how many packets the host has denied each link of the
// pool with this scope, by the link's name. A pool that is not open denies
// nothing.
func DeniedByLink(scope string) (map[string]uint64, error) {
	exists, err := Exists(HostTable(scope))
	if err != nil || !exists {
		return nil, err
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	elements, err := netlinkdump.Settled(func() ([]nftables.SetElement, error) {
		return conn.GetSetElements(deniedLinks(scope))
	})
	if err != nil {
		return nil, fmt.Errorf("reading what links were denied: %w", err)
	}
	denied := make(map[string]uint64)
	for _, e := range elements {
		name, _, _ := bytes.Cut(e.Key, []byte{0})
		if e.Counter != nil {
			denied[string(name)] = e.Counter.Packets
		}
	}
	return denied, nil
}

// ForgetLink drops the count of a link that is gone. It is idempotent. Most
// links have none, and to look first costs a hundredth of a transaction that
// fails: for that the kernel waits until nothing in it can see it any more.
func ForgetLink(scope, name string) error {
	denied, err := DeniedByLink(scope)
	if err != nil {
		return err
	}
	if _, counted := denied[name]; !counted {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	link := []nftables.SetElement{{Key: interfaceName(name)}}
	if err := conn.SetDeleteElements(deniedLinks(scope), link); err != nil {
		return fmt.Errorf("forgetting what %s was denied: %w", name, err)
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting what %s was denied: %w", name, err)
	}
	return nil
}

func deniedLinks(scope string) *nftables.Set {
	return &nftables.Set{Table: inet(HostTable(scope)), Name: deniedSet, KeyType: nftables.TypeIFName}
}
