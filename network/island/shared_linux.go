package island

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// Shared names what the pool's leases share and what is on the host now: its
// nftables table, from Open to Close.
func (i *Island) Shared(context.Context) ([]string, error) {
	table := firewall.HostTable(i.scope)
	exists, err := firewall.Exists(table)
	if err != nil || !exists {
		return nil, err
	}
	return []string{"nftables table inet " + table}, nil
}
