package wiring

import (
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildCloudHypervisor(c config.Config, log *slog.Logger) (host.Assembly, error) {
	return buildMachines(cloudhypervisor.Driver{
		Binary: c.CloudHypervisor.Binary,
		Limits: cloudhypervisor.Limits{
			DiskBandwidth: c.CloudHypervisor.DiskBandwidth, DiskOperations: c.CloudHypervisor.DiskOperations,
			NetworkBandwidth: c.CloudHypervisor.NetworkBandwidth,
		},
	}, c, log)
}
