// Package provider is what GitLab Runner talks to: fleeting's InstanceGroup on
// top of a pool. It takes plugin_config in, gives the runner's states out, and
// keeps the promises that the runner relies on where the pool does not know
// the runner. How a worker lives is in package pool, how a pool is opened on a
// host in package host, and what plugin_config may hold in config/.
package provider

import (
	"errors"
	"sync"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// What may be wrong with the order of calls.
var (
	errNotInitialised     = errors.New("the plugin is not initialised: Init comes first")
	errAlreadyInitialised = errors.New("the plugin is initialised already")
	errShutDown           = errors.New("the plugin is shut down")
)

// defaultLockWait is long enough for a plugin process that is on its way out
// to reap its workers, and short enough to leave half of the minute that the
// runner gives Init.
const defaultLockWait = 30 * time.Second

// InstanceGroup serves one pool to GitLab Runner. The runner's side hands
// plugin_config over by way of UnmarshalJSON, then calls Init, then the rest.
type InstanceGroup struct {
	version plugin.VersionInfo
	host    *host.Host
	// lockWait is how long Init waits for another plugin process to let go of
	// the pool.
	lockWait time.Duration

	// changing lets one Init or Shutdown work at a time. It may be held for a
	// minute, so nothing else waits for it.
	changing sync.Mutex
	// closing gets the outcome of a Shutdown that is under way; changing guards it.
	closing <-chan error

	mu     sync.Mutex // guards all below; nothing waits while it is held
	config config.Config
	opened *opened
	closed bool
}

var _ fleetingprovider.InstanceGroup = (*InstanceGroup)(nil)

// opened is what Init put together and Shutdown takes apart.
type opened struct {
	*host.Pool
	settings fleetingprovider.Settings
}

// New returns an instance group with the default configuration, for a pool on
// the host.
func New(version plugin.VersionInfo, on *host.Host) *InstanceGroup {
	return &InstanceGroup{version: version, host: on, lockWait: defaultLockWait, config: config.Default()}
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
		return nil, errShutDown
	case g.opened == nil:
		return nil, errNotInitialised
	}
	return g.opened, nil
}
