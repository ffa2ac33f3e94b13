// Package provider is what GitLab Runner talks to: fleeting's InstanceGroup on
// top of a pool. It takes plugin_config in, gives the runner's states out, and
// keeps the promises that the runner relies on where the pool does not know
// the runner. How a worker lives is the pool's business; what plugin_config
// may hold is in config/.
//
// Only the wire files know which backends and networks there are. The rest
// works with the contracts, and so do the commands that look at a host from
// outside a plugin process: checking it, building an image, sweeping it.
package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleeting "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// What may be wrong with the order of calls.
var (
	ErrNotInitialised     = errors.New("the plugin is not initialised: Init comes first")
	ErrAlreadyInitialised = errors.New("the plugin is initialised already")
	ErrShutDown           = errors.New("the plugin is shut down")
)

// defaultLockWait is long enough for a plugin process that is on its way out
// to reap its workers, and short enough to leave half of the minute that the
// runner gives Init.
const defaultLockWait = 30 * time.Second

// InstanceGroup serves one pool to GitLab Runner. The runner's side hands
// plugin_config over by way of UnmarshalJSON, then calls Init, then the rest.
type InstanceGroup struct {
	// LockWait is how long Init waits for another plugin process to let go of
	// the pool.
	LockWait time.Duration

	version  plugin.VersionInfo
	assemble assembler
	everyone func(config.Config, *slog.Logger) ([]assembly, error)

	// turn lets one Init or Shutdown work at a time. It may be held for a
	// minute, so nothing else waits for it.
	turn sync.Mutex
	// closing gets the outcome of a Shutdown that is under way. Who has the turn
	// has it.
	closing <-chan error

	mu sync.Mutex // guards all below; nothing waits while it is held
	// kept are the locks of pools that could not be closed. The garbage
	// collector would unlock what nobody knows any more.
	kept   []func() error
	config config.Config
	opened *opened
	closed bool
}

var _ fleeting.InstanceGroup = (*InstanceGroup)(nil)

// opened is what Init put together and Shutdown takes apart.
type opened struct {
	pool     *pool.Pool
	settings fleeting.Settings
	unlock   func() error
	log      *slog.Logger
}

// New returns an instance group with the default configuration.
func New(version plugin.VersionInfo) *InstanceGroup {
	return &InstanceGroup{
		LockWait: defaultLockWait,
		version:  version,
		assemble: assemble,
		everyone: everyone,
		config:   config.Default(),
	}
}

// UnmarshalJSON takes plugin_config. Its error, which the runner logs, lists
// every mistake on a line of its own.
func (g *InstanceGroup) UnmarshalJSON(text []byte) error {
	c, err := config.Parse(text)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	return nil
}

// running returns what Init has put together, for the methods that need it.
func (g *InstanceGroup) running() (*opened, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, ErrShutDown
	case g.opened == nil:
		return nil, ErrNotInitialised
	}
	return g.opened, nil
}

// Shutdown reaps every worker and lets go of the pool. When ctx ends first, as
// it does with a runner that dies meanwhile, the work goes on, and Reap waits
// for its end; what is not done when the process ends, the next Init on the pool
// does. It may be called again, and before or beside Init, and does nothing then
// that is not to be done.
//
// It reaps in any case. Whether the runner was told to keep its instances does
// not reach us, and a worker asked for in its last moment gets no Decrease.
func (g *InstanceGroup) Shutdown(ctx context.Context) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	return g.shutDown(ctx)
}

// Reap is Shutdown with a limit that begins when it is its turn: an Init that
// is under way costs no worker its end in order.
func (g *InstanceGroup) Reap(limit time.Duration) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return g.shutDown(ctx)
}

// shutDown takes apart what Init put together, or waits on while that is under
// way. The outcome is told once. The caller has the turn.
func (g *InstanceGroup) shutDown(ctx context.Context) error {
	if o := g.finish(); o != nil {
		closing := make(chan error, 1)
		g.closing = closing
		go func() { closing <- g.closePool(context.WithoutCancel(ctx), o.pool, o.unlock) }()
	}
	if g.closing == nil {
		return nil
	}
	select {
	case err := <-g.closing:
		g.closing = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("the pool is still being closed: %w", context.Cause(ctx))
	}
}

// closePool lets go of the pool only when nothing is left in it. Otherwise the
// lock ends with this process: who has it next must not meet our hands on the
// same workers.
func (g *InstanceGroup) closePool(ctx context.Context, p *pool.Pool, unlock func() error) error {
	if err := p.Close(ctx); err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.kept = append(g.kept, unlock)
		return err
	}
	return unlock()
}

// finish returns what is to be taken apart, once.
func (g *InstanceGroup) finish() *opened {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.opened
	g.opened, g.closed = nil, true
	return o
}
