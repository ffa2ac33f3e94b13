package provider

import (
	"log/slog"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildNspawn(c config.Config, log *slog.Logger) (assembly, error) {
	options := islands(c, log)
	options.Containers = true
	leases, err := island.New(options)
	if err != nil {
		return assembly{}, err
	}
	return assembly{
		backend: nspawn.New(nspawn.Options{
			Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir), ImagesDir: c.ImagesDir(),
			Source: c.Image.Source.Kind, PrivateUsers: c.Nspawn.PrivateUsers,
			Network: leases,
		}),
		network: leases,
		access:  access.SSH{},
		form:    nspawn.Form(c.Nspawn.PrivateUsers),
		root:    true,
	}, nil
}
