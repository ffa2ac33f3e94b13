package provider

import (
	"context"
	"errors"
	"log/slog"
	"maps"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Denied says how many packets the policy of the network has denied each worker
// of a pool, by worker, as far as the networks that they may have can tell. It
// only looks.
func Denied(ctx context.Context, c config.Config, log *slog.Logger) (map[string]uint64, error) {
	candidates, err := candidates(c, log)
	if err != nil {
		return nil, err
	}
	denied := make(map[string]uint64)
	var errs []error
	for _, a := range candidates {
		if denier, ok := a.network.(network.Denier); ok {
			found, err := denier.Denied(ctx)
			maps.Copy(denied, found)
			errs = append(errs, err)
		}
	}
	return denied, errors.Join(errs...)
}
