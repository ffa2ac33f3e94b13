package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
	fleeting "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// undoTimeout bounds what a failed Init does to leave nothing behind. Its
// caller is told of the failure only after that.
const undoTimeout = 10 * time.Second

// Init takes the pool's directory, removes what an earlier plugin process left
// there, and starts to build the golden image in the background. When it
// fails, nothing is left of the attempt: the runner tries again, in a process
// of its own each time, and never calls Shutdown.
//
// All that outlives Init runs on the pool's own contexts: ctx ends with Init.
func (g *InstanceGroup) Init(ctx context.Context, logger hclog.Logger, settings fleeting.Settings) (fleeting.ProviderInfo, error) {
	g.turn.Lock()
	defer g.turn.Unlock()
	c, err := g.begin()
	if err != nil {
		return fleeting.ProviderInfo{}, err
	}
	log := slog.New(newHandler(logger))
	a, err := g.assemble(ctx, c, log)
	if err != nil {
		return fleeting.ProviderInfo{}, err
	}
	o, err := g.open(ctx, c, a, settings, log)
	if err != nil {
		return fleeting.ProviderInfo{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = o
	return g.info(c, a.name, o.pool.CanSuspend()), nil
}

// begin returns the configuration to start with, if there is anything to start.
func (g *InstanceGroup) begin() (config.Config, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return config.Config{}, ErrShutDown
	case g.opened != nil:
		return config.Config{}, ErrAlreadyInitialised
	}
	return g.config, nil
}

// open takes the pool's directory and opens the pool in it.
func (g *InstanceGroup) open(ctx context.Context, c config.Config, a assembly, settings fleeting.Settings, log *slog.Logger) (*opened, error) {
	recipe, err := Recipe(c, settings.Username)
	if err != nil {
		return nil, err
	}
	recipe.Form = a.form
	records, unlock, err := take(ctx, c, g.LockWait)
	if err != nil {
		return nil, err
	}
	all, err := g.everyone(c, log)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	p := pool.New(pool.Config{
		Name: c.Pool, Recipe: recipe,
		CPUs: c.Machine.CPUs, Memory: c.Machine.Memory,
		Max: c.MaxWorkers(), ConcurrentStarts: c.Host.ConcurrentStarts,
		StartTimeout: c.Machine.StartTimeout, Spares: c.Fork.Spares,
	}, pool.Parts{
		Backend: a.backend, Network: a.network, Access: a.access, Store: records, Log: log,
		Orphans: foreignOrphans(ctx, all, a.name, log),
	})
	if err := p.Open(ctx); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return nil, errors.Join(err, g.closePool(undo, p, unlock))
	}
	return &opened{pool: p, settings: settings, unlock: unlock, log: log}, nil
}

// info is what the runner shows of us. Its max_instances must not be above
// MaxSize.
func (g *InstanceGroup) info(c config.Config, backend string, suspends bool) fleeting.ProviderInfo {
	info := fleeting.ProviderInfo{
		ID:        fmt.Sprintf("mayfly/%s/%s", backend, c.Pool),
		MaxSize:   c.MaxWorkers(),
		Version:   g.version.String(),
		BuildInfo: g.version.BuildInfo(),
	}
	if suspends {
		info.Capabilities = []fleeting.Capability{fleeting.CapabilitySuspendResume}
	}
	return info
}
