package wiring

import (
	"log/slog"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bhyve"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/tart"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func buildTart(c config.Config, _ *slog.Logger) (host.Assembly, error) {
	mounts := make([]remote.Mount, len(c.Tart.Mounts))
	for i, text := range c.Tart.Mounts {
		mounts[i].Tag, mounts[i].Dir, _ = strings.Cut(text, ":")
	}
	return remotely(tart.New(tart.Options{
		Options: toolOptions(c, c.Tart.User, c.Tart.Password), Home: c.TartHome(), MaxWorkers: c.Host.MaxWorkers,
		Registry: tart.Registry{
			Always: c.Tart.Pull == "always", Insecure: c.Tart.Insecure, Concurrency: c.Tart.Concurrency,
		},
		Settings: tart.Settings{
			Dirs: c.Tart.Dirs, Disks: c.Tart.Disks, RootDisk: c.Tart.RootDisk,
			Network: c.Tart.Network, Bridged: c.Tart.Bridged,
			SoftnetAllow: c.Tart.SoftnetAllow, SoftnetBlock: c.Tart.SoftnetBlock, Nested: c.Tart.Nested,
		},
		Mounts:  mounts,
		AutoCPU: c.Tart.CPU != "", AutoMemory: c.Tart.Memory != "", RandomSerial: c.Tart.RandomSerial,
		Resolver: c.Tart.Resolver, Suspendable: c.Tart.Suspendable,
	})), nil
}

func buildBhyve(c config.Config, _ *slog.Logger) (host.Assembly, error) {
	return remotely(bhyve.New(bhyve.Options{
		Options: toolOptions(c, c.Bhyve.User, c.Bhyve.Password), Sudo: c.Bhyve.Sudo, Template: c.Bhyve.Template,
		Leases: c.Bhyve.Leases, LeasesFile: c.Bhyve.LeasesFile,
	})), nil
}

// toolOptions are what both backends need; the user is that of the image.
func toolOptions(c config.Config, user, password string) foreigntool.Options {
	return foreigntool.Options{
		Pool: c.Pool, WorkersDir: filepath.Join(c.PoolDir(), store.WorkersDir),
		ImagesDir: c.ImagesDir(), StateDir: c.StateDir,
		Source: c.Image.Source, User: user, Password: password,
	}
}

// remotely is a backend that brings its own network.
func remotely(b backend.Backend) host.Assembly {
	return host.Assembly{Backend: b, Network: network.None{}, Access: access.SSH{}}
}
