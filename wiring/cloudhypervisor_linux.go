package wiring

import (
	"log/slog"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildCloudHypervisor(c config.Config, log *slog.Logger) (host.Assembly, error) {
	leases, err := island.New(islands(c, log))
	if err != nil {
		return host.Assembly{}, err
	}
	return host.Assembly{
		Backend: cloudhypervisor.New(cloudhypervisor.Options{
			Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir),
			ImagesDir: c.ImagesDir(), StateDir: c.StateDir,
			Fork: c.Fork.Enabled, ShareMemory: c.Fork.ShareMemory,
			// The same as QEMU's: a pool has one template, whoever runs it.
			TemplatesDir: filepath.Join(c.PoolDir(), "templates"),
			Source:       c.Image.Source.Kind, Network: leases, Log: log,
			Binary: c.CloudHypervisor.Binary,
			Limits: cloudhypervisor.Limits{
				DiskBandwidth: c.CloudHypervisor.DiskBandwidth, DiskOperations: c.CloudHypervisor.DiskOperations,
				NetworkBandwidth: c.CloudHypervisor.NetworkBandwidth,
			},
		}),
		Network: leases,
		Access:  access.SSH{},
		Root:    true,
	}, nil
}
