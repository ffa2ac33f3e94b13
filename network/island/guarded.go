//go:build linux

package island

import (
	"context"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// Await returns when the host has the pool's rules, which are put back when they
// are gone. A worker's own ones are not: nobody but root inside its namespace can
// have removed them, and the worker is to be given up.
func (i *Island) Await(ctx context.Context, worker string) error {
	if err := i.awaitHost(ctx); err != nil {
		return err
	}
	name, err := i.name(worker)
	if err != nil {
		return err
	}
	own, err := ownRules(name)
	if err != nil {
		return fmt.Errorf("looking at the firewall rules of %s: %w", worker, err)
	}
	if own != firewall.Complete {
		return fmt.Errorf("%s has lost its firewall rules: table inet %s of its namespace %s is %s",
			worker, firewall.NamespaceTable, name, own)
	}
	return nil
}

// Unguarded looks at all leases, from whatever process, and sees nothing unless
// that is root's.
func (i *Island) Unguarded(context.Context) (map[string]string, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names, err := listNamespaces()
	if err != nil {
		return nil, err
	}
	onHost, err := firewall.HostState(i.scope)
	if err != nil {
		return nil, err
	}
	unguarded := make(map[string]string)
	for _, name := range names {
		worker, ok := i.worker(name)
		if !ok {
			continue
		}
		own, err := ownRules(name)
		switch {
		case isNoNamespace(err): // it is half made, or has just gone
		case err != nil:
			return nil, fmt.Errorf("looking at the firewall rules of %s: %w", worker, err)
		case own != firewall.Complete:
			unguarded[worker] = fmt.Sprintf("nftables table inet %s of its namespace is %s",
				firewall.NamespaceTable, own)
		case onHost != firewall.Complete:
			unguarded[worker] = fmt.Sprintf("nftables table inet %s of the host is %s",
				firewall.HostTable(i.scope), onHost)
		}
	}
	return unguarded, nil
}

// ownRules is how much there is of the table of a lease's namespace.
func ownRules(name string) (state firewall.State, err error) {
	err = Do(namespacePath(name), func() (err error) {
		state, err = firewall.NamespaceState()
		return err
	})
	return state, err
}
