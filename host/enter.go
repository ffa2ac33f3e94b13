package host

import (
	"context"
	"errors"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Enter runs a person's session in a worker, with the worker's own key, and returns its
// exit code.
func (h *Host) Enter(
	ctx context.Context, c config.Config, record store.Record, do pool.Session, log *slog.Logger,
) (exit int, err error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return 0, err
	}
	for _, a := range candidates {
		if entrance, ok := a.Access.(pool.Entrance); ok { // a pool's workers are all entered one way
			return entrance.Enter(ctx, record.Address, record.Identity(), pool.Key(record.PrivateKey), do)
		}
	}
	return 0, errors.New("nobody can log in to this backend's workers")
}
