package wiring

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// system is what only some systems have.
func system() *host.Host {
	return &host.Host{CanReflink: canReflink, Registry: registry, Backends: []host.Builder{
		{Name: config.BackendQEMU, Automatic: true, Build: buildQEMU},
		{Name: config.BackendCloudHypervisor, Automatic: true, Build: buildCloudHypervisor},
		// Never automatic: that jobs share the host's kernel is for people to say.
		{Name: config.BackendNspawn, Build: buildNspawn},
		// The tools of these two are for other systems.
		{Name: config.BackendTart, Build: buildTart},
		{Name: config.BackendBhyve, Build: buildBhyve},
		{Name: config.BackendSynthetic, Build: buildSynthetic},
	}}
}

// islands are the options of a pool's network.
func islands(c config.Config, log *slog.Logger) island.Options {
	return island.Options{
		PoolDir: c.PoolDir(), Pool: c.Pool, AddressDir: c.AddressDir(),
		Subnet: c.Network.Subnet, Policy: c.Network.Policy, Log: log,
	}
}

func buildQEMU(c config.Config, log *slog.Logger) (host.Assembly, error) {
	limits := qemu.Limits{DiskBandwidth: c.Machine.DiskBandwidth, DiskOperations: c.Machine.DiskOperations}
	return buildMachines(qemu.New("", limits, log), c, log)
}

// buildMachines is the backend of virtual machines that the driver runs.
func buildMachines(driver vmm.Driver, c config.Config, log *slog.Logger) (host.Assembly, error) {
	options := islands(c, log)
	options.Queues = network.Queues(c.Machine.CPUs)
	leases, err := island.New(options)
	if err != nil {
		return host.Assembly{}, err
	}
	machines := vmm.New(driver, vmm.Options{
		Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir),
		ImagesDir: c.ImagesDir(), StateDir: c.StateDir,
		Fork: c.Fork.Enabled, ShareMemory: c.Fork.ShareMemory, Warm: c.Warmth(),
		// The pool's own: machines of two pools share no memory. A pool has one
		// template, whoever runs it.
		TemplatesDir: templatesDir(c.PoolDir()),
		Source:       c.Image.Source.Kind, Pull: pull(c), Network: leases, Log: log,
		InUse:  func() (map[string]bool, error) { return usedImages(c) },
		Queues: options.Queues, Nested: c.Machine.Nested, PCI: c.Machine.Devices,
	})
	var workers backend.Backend = machines
	if len(c.Machine.Devices) > 0 {
		workers = machines.Fixed()
	}
	return host.Assembly{
		Backend: workers,
		Network: leases,
		Access:  access.SSH{},
		Root:    true,
	}, nil
}

func templatesDir(poolDir string) string { return filepath.Join(poolDir, "templates") }

// unfinishedTemplates are those of all pools.
func unfinishedTemplates(c config.Config) (found []diskspace.Leftover, err error) {
	pools, err := poolDirs(c)
	for _, dir := range pools {
		unfinished, shelfErr := (&template.Shelf{Dir: templatesDir(dir)}).Unfinished()
		found, err = append(found, unfinished...), errors.Join(err, shelfErr)
	}
	return found, err
}

// templateImages are the golden images that a pool's templates were made from.
func templateImages(poolDir string) (digests []string, err error) {
	return (&template.Shelf{Dir: templatesDir(poolDir)}).Goldens()
}

func canReflink(dir string) bool {
	source := filepath.Join(dir, "source")
	if err := disk.Create(source, 1<<16); err != nil {
		return false
	}
	method, err := disk.Clone(context.Background(), source, filepath.Join(dir, "clone"))
	return err == nil && method == disk.Reflink
}
