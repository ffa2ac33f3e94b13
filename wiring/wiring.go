// Package wiring puts implementations behind the contracts: it alone knows which
// backends, networks, parts of images and observers there are, and turns the configuration
// into their options. What they are used for is in package host and below.
package wiring

import (
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/address"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/endpoint"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/tracing"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Host is this host, with all backends that its system has.
func Host() *host.Host {
	h := system()
	h.Images = func(dir string) host.Images { return cache.New(dir) }
	h.AddressOwners = addressOwners
	h.Leftovers = leftovers
	h.UsedImages = usedImages
	h.UnusedImages = unusedImages
	h.ImageUsers = imageUsers
	h.Observers = []host.Observer{endpoint.Run, tracing.Run}
	return h
}

func buildSynthetic(c config.Config, _ *slog.Logger) (host.Assembly, error) {
	return host.Assembly{
		Backend: synthetic.New(synthetic.Options{Reserve: c.Synthetic.Reserve}),
		Network: network.None{},
		Access:  access.SSH{},
	}, nil
}

func addressOwners(c config.Config) ([]string, error) {
	book, err := address.New(c.AddressDir(), c.Network.Subnet)
	if err != nil {
		return nil, err
	}
	taken, err := book.Owners()
	if err != nil {
		return nil, err
	}
	owners := make([]string, 0, len(taken))
	for _, owner := range taken {
		owners = append(owners, owner)
	}
	return owners, nil
}
