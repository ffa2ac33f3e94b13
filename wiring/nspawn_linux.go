package wiring

import (
	"log/slog"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildNspawn(c config.Config, log *slog.Logger) (host.Assembly, error) {
	options := islands(c, log)
	options.Containers = true
	leases, err := island.New(options)
	if err != nil {
		return host.Assembly{}, err
	}
	return host.Assembly{
		Backend: nspawn.New(nspawn.Options{
			Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir), ImagesDir: c.ImagesDir(),
			Source: c.Image.Source.Kind, Pull: pull(c), PrivateUsers: c.Nspawn.PrivateUsers,
			InUse: func() (map[string]bool, error) { return usedImages(c) },
			Warm:  c.Warmth(), Nested: c.Machine.Nested, Network: leases,
		}),
		Network: leases,
		Access:  access.SSH{},
		Form:    nspawn.Form(c.Nspawn.PrivateUsers),
		Root:    true,
	}, nil
}
