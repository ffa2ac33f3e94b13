package wiring

import (
	"cmp"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildCloudHypervisor(c config.Config, log *slog.Logger) (host.Assembly, error) {
	return buildMachines(cloudhypervisor.Driver{
		Binary: c.CloudHypervisor.Binary,
		Limits: cloudhypervisor.Limits{
			DiskBandwidth:    cmp.Or(c.CloudHypervisor.DiskBandwidth, c.Machine.DiskBandwidth),
			DiskOperations:   cmp.Or(c.CloudHypervisor.DiskOperations, c.Machine.DiskOperations),
			NetworkBandwidth: c.CloudHypervisor.NetworkBandwidth,
		},
	}, c, log)
}
