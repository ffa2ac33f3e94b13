package host

import (
	"context"
	"errors"
	"log/slog"
	"maps"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Memory says what the machines of a pool take of the host's memory, by
// worker, as far as the backends that may have made them can tell. It only
// looks. What one backend cannot tell does not hide what the others found.
func (h *Host) Memory(ctx context.Context, c config.Config, log *slog.Logger) (map[string]backend.Memory, error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return nil, err
	}
	used := make(map[string]backend.Memory)
	var errs []error
	for _, a := range candidates {
		metered, ok := a.Backend.(backend.Metered)
		if !ok {
			continue
		}
		found, err := metered.Memory(ctx)
		maps.Copy(used, found)
		errs = append(errs, err)
	}
	return used, errors.Join(errs...)
}

// Denied says how many packets the policy of the network has denied each worker
// of a pool, by worker, if it counts them. It only looks.
func (h *Host) Denied(ctx context.Context, c config.Config, log *slog.Logger) (map[string]uint64, error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return nil, err
	}
	for _, a := range candidates {
		if denier, ok := a.Network.(network.Denier); ok {
			return denier.Denied(ctx) // a pool has one network, whatever its backend is
		}
	}
	return nil, nil
}

// Unguarded says, by worker, which rules around those workers of a pool are missing
// that lack any, if the network has rules. It only looks.
func (h *Host) Unguarded(ctx context.Context, c config.Config, log *slog.Logger) (map[string]string, error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return nil, err
	}
	for _, a := range candidates {
		if guard, ok := a.Network.(network.Guard); ok {
			return guard.Unguarded(ctx)
		}
	}
	return nil, nil
}

// Acceleration says how fast the machines of a backend run on this host, and
// why, as far as that is known without a probe.
func (h *Host) Acceleration(c config.Config, log *slog.Logger) (name, reason string) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return "", ""
	}
	if accelerated, ok := candidates[0].Backend.(backend.Accelerated); ok {
		return accelerated.Acceleration()
	}
	return "", ""
}

// Consoles are the files in which the machines of a pool may leave their boot logs, one
// for each backend that may have made them, by the directory of a worker.
func (h *Host) Consoles(c config.Config, log *slog.Logger, dir string) (paths []string, err error) {
	candidates, err := h.candidates(c, log)
	for _, a := range candidates {
		if console, ok := a.Backend.(backend.Console); ok {
			paths = append(paths, console.ConsolePath(dir))
		}
	}
	return paths, err
}
