package provider

import (
	"context"
	"log/slog"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/address"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// systemBuilders are the backends that only Linux has.
var systemBuilders = []builder{
	{name: config.BackendQEMU, automatic: true, build: buildQEMU},
	{name: config.BackendCloudHypervisor, automatic: true, build: buildCloudHypervisor},
	// Never of itself: that jobs share the host's kernel is for people to say.
	{name: config.BackendNspawn, build: buildNspawn},
}

// islands are the options of a pool's network.
func islands(c config.Config, log *slog.Logger) island.Options {
	return island.Options{
		PoolDir: c.PoolDir(), Pool: c.Pool, AddressDir: c.AddressDir(),
		Subnet: c.Network.Subnet, Policy: c.Network.Policy, Log: log,
	}
}

func buildQEMU(c config.Config, log *slog.Logger) (assembly, error) {
	return buildMachines(qemu.Driver{}, c, log)
}

// buildMachines is the backend of virtual machines that the driver runs.
func buildMachines(driver vmm.Driver, c config.Config, log *slog.Logger) (assembly, error) {
	leases, err := island.New(islands(c, log))
	if err != nil {
		return assembly{}, err
	}
	return assembly{
		backend: vmm.New(driver, vmm.Options{
			Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir),
			ImagesDir: c.ImagesDir(), StateDir: c.StateDir,
			Fork: c.Fork.Enabled, ShareMemory: c.Fork.ShareMemory,
			// The pool's own: machines of two pools share no memory. A pool has one
			// template, whoever runs it.
			TemplatesDir: filepath.Join(c.PoolDir(), "templates"),
			Source:       c.Image.Source.Kind, Network: leases, Log: log,
		}),
		network: leases,
		access:  access.SSH{},
		root:    true,
	}, nil
}

// addressOwners returns who has an address below the state directory, as
// "pool/worker".
func addressOwners(c config.Config) ([]string, error) {
	book, err := address.New(c.AddressDir(), c.Network.Subnet)
	if err != nil {
		return nil, err
	}
	taken, err := book.Owners()
	if err != nil {
		return nil, err
	}
	owners := make([]string, 0, len(taken))
	for _, owner := range taken {
		owners = append(owners, owner)
	}
	return owners, nil
}

// canReflink tries it, in a directory that somebody else removes.
func canReflink(dir string) bool {
	source := filepath.Join(dir, "source")
	if err := disk.Create(source, 1<<16); err != nil {
		return false
	}
	method, err := disk.Clone(context.Background(), source, filepath.Join(dir, "clone"))
	return err == nil && method == disk.Reflink
}
