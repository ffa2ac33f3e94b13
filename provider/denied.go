package provider

import (
	"context"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Denied says how many packets the policy of the network has denied each worker
// of a pool, by worker, if it counts them. It only looks.
func Denied(ctx context.Context, c config.Config, log *slog.Logger) (map[string]uint64, error) {
	candidates, err := candidates(c, log)
	if err != nil {
		return nil, err
	}
	for _, a := range candidates {
		if denier, ok := a.network.(network.Denier); ok {
			return denier.Denied(ctx) // a pool has one network, whatever its backend is
		}
	}
	return nil, nil
}
