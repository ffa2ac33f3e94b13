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
	exists, err := hasOwnRules(name)
	if err != nil {
		return fmt.Errorf("looking at the firewall rules of %s: %w", worker, err)
	}
	if !exists {
		return fmt.Errorf("%s has lost its firewall rules: table inet %s of its namespace %s is missing",
			worker, firewall.NamespaceTable, name)
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
	table := firewall.HostTable(i.scope)
	onHost, err := firewall.Exists(table)
	if err != nil {
		return nil, err
	}
	unguarded := make(map[string]string)
	for _, name := range names {
		worker, ok := i.worker(name)
		if !ok {
			continue
		}
		own, err := hasOwnRules(name)
		switch {
		case isNoNamespace(err): // it is half made, or has just gone
		case err != nil:
			return nil, fmt.Errorf("looking at the firewall rules of %s: %w", worker, err)
		case !own:
			unguarded[worker] = fmt.Sprintf("nftables table inet %s of its namespace is missing", firewall.NamespaceTable)
		case !onHost:
			unguarded[worker] = fmt.Sprintf("nftables table inet %s of the host is missing", table)
		}
	}
	return unguarded, nil
}

// hasOwnRules says whether the namespace of a lease has its table.
func hasOwnRules(name string) (exists bool, err error) {
	err = Do(namespacePath(name), func() (err error) {
		exists, err = firewall.Exists(firewall.NamespaceTable)
		return err
	})
	return exists, err
}
