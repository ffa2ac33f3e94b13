package host

import (
	"log/slog"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// ConsolePath is the file with the boot log of the worker whose directory is dir, of
// whichever backend it is; empty when there is none.
func (h *Host) ConsolePath(c config.Config, dir string, log *slog.Logger) (string, error) {
	all, err := h.everyone(c, log)
	if err != nil {
		return "", err
	}
	for _, a := range all {
		console, ok := a.Backend.(backend.Console)
		if !ok {
			continue
		}
		path := console.ConsolePath(dir)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", nil
}
