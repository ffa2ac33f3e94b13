package firewall

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
)

// Exists tells whether the calling thread's network namespace has the table.
func Exists(name string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("listing nftables tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name }), nil
}

// Dropping lists the chains of others that drop what they do not accept, of
// packets that pass through the host. No rule of ours can overrule them.
func Dropping() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing nftables chains: %w", err)
	}
	var dropping []string
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if family, ok := families[c.Table.Family]; ok {
			dropping = append(dropping, fmt.Sprintf("%s %s %s", family, c.Table.Name, c.Name))
		}
	}
	return dropping, nil
}

// families are those whose forward hook sees IPv4 packets, as nft names them.
var families = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet",
	nftables.TableFamilyIPv4: "ip",
}
