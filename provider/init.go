package provider

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Init opens the pool. When it fails, nothing is left of the attempt: the runner
// tries again, in a process of its own each time, and never calls Shutdown. The
// pool outlives ctx, which ends with Init.
func (g *InstanceGroup) Init(
	ctx context.Context, logger hclog.Logger, settings fleetingprovider.Settings,
) (fleetingprovider.ProviderInfo, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	c, err := g.begin()
	if err != nil {
		return fleetingprovider.ProviderInfo{}, err
	}
	pool, err := g.host.OpenPool(ctx, c, settings.Username, g.lockWait, slog.New(handler{logger: logger}))
	if err != nil {
		return fleetingprovider.ProviderInfo{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = &opened{pool, settings}
	// Its max_instances must not be above MaxSize, or the runner complains.
	info := fleetingprovider.ProviderInfo{
		ID:        fmt.Sprintf("mayfly/%s/%s", pool.Backend, c.Pool),
		MaxSize:   c.MaxWorkers(),
		Version:   g.version.String(),
		BuildInfo: g.version.BuildInfo(),
	}
	if pool.CanSuspend() {
		info.Capabilities = []fleetingprovider.Capability{fleetingprovider.CapabilitySuspendResume}
	}
	return info, nil
}

// begin returns the configuration to start with, if there is anything to start.
func (g *InstanceGroup) begin() (config.Config, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return config.Config{}, errShutDown
	case g.opened != nil:
		return config.Config{}, errAlreadyInitialised
	}
	return g.config, nil
}
