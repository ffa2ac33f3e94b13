package provider

import (
	"context"
	"errors"
	"log/slog"
	"maps"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Memory says what the machines of a pool take of the host's memory, by
// worker, as far as the backends that may have made them can tell. It only
// looks. What one backend cannot tell does not hide what the others found.
func Memory(ctx context.Context, c config.Config, log *slog.Logger) (map[string]backend.Memory, error) {
	candidates, err := candidates(c, log)
	if err != nil {
		return nil, err
	}
	used := make(map[string]backend.Memory)
	var errs []error
	for _, a := range candidates {
		metered, ok := a.backend.(backend.Metered)
		if !ok {
			continue
		}
		found, err := metered.Memory(ctx)
		maps.Copy(used, found)
		errs = append(errs, err)
	}
	return used, errors.Join(errs...)
}
