package provider

import (
	"context"
	"fmt"
	"runtime"
	"time"

	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// What the connector gets where the runner's settings say nothing: a time-out
// of zero would fail every dial at once, and a keepalive of zero would loop
// without a pause.
const (
	defaultTimeout   = 10 * time.Minute
	defaultKeepalive = 30 * time.Second
)

// states are the pool's states in the runner's words.
var states = map[pool.State]fleetingprovider.State{
	pool.Creating:   fleetingprovider.StateCreating,
	pool.Running:    fleetingprovider.StateRunning,
	pool.Suspending: fleetingprovider.StateSuspending,
	pool.Suspended:  fleetingprovider.StateSuspended,
	pool.Resuming:   fleetingprovider.StateResuming,
	pool.Deleting:   fleetingprovider.StateDeleting,
	pool.Deleted:    fleetingprovider.StateDeleted,
}

// Update tells the runner how all workers are doing.
func (g *InstanceGroup) Update(_ context.Context, tell func(id string, state fleetingprovider.State)) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	for _, worker := range o.Workers() {
		tell(worker.ID, states[worker.State])
	}
	return nil
}

// Increase promises up to n more workers and returns how many. The error is
// nil whenever there are any: beside an error, the runner would forget them.
func (g *InstanceGroup) Increase(_ context.Context, n int) (int, error) {
	o, err := g.running()
	if err != nil {
		return 0, err
	}
	return o.Grow(n)
}

// Decrease marks workers as being deleted and returns them all: one that is
// gone already has what was asked for it.
func (g *InstanceGroup) Decrease(_ context.Context, ids []string) ([]string, error) {
	o, err := g.running()
	if err != nil {
		return nil, err
	}
	return o.Shrink(ids), nil
}

// ConnectInfo says how a job gets into a worker. Each worker has a key of its
// own, so credentials in the runner's settings do not count, not even with
// use_static_credentials: no worker would let them in.
func (g *InstanceGroup) ConnectInfo(_ context.Context, id string) (fleetingprovider.ConnectInfo, error) {
	o, err := g.running()
	if err != nil {
		return fleetingprovider.ConnectInfo{}, err
	}
	connection, err := o.Connection(id)
	if err != nil {
		return fleetingprovider.ConnectInfo{}, fmt.Errorf("connecting: %w", err)
	}
	return connectInfo(id, o.settings.ConnectorConfig, connection), nil
}

// connectInfo adds what only the pool knows to the runner's settings. The
// address has its port in it, since older runners dial port 0 without. The key
// never expires, as it dies with its worker.
func connectInfo(id string, settings fleetingprovider.ConnectorConfig, c pool.Connection) fleetingprovider.ConnectInfo {
	settings.OS, settings.Arch = c.OS, runtime.GOARCH
	settings.Protocol = fleetingprovider.ProtocolSSH
	settings.ProtocolPort = int(c.Address.Port())
	settings.Username, settings.Password = c.User, ""
	settings.Key, settings.UseStaticCredentials = []byte(c.PrivateKey), false
	if settings.Timeout == 0 {
		settings.Timeout = defaultTimeout
	}
	if settings.Keepalive == 0 {
		settings.Keepalive = defaultKeepalive
	}
	return fleetingprovider.ConnectInfo{
		ConnectorConfig: settings,
		ID:              id,
		InternalAddr:    c.Address.String(),
		ExternalAddr:    c.Address.String(),
	}
}

// Heartbeat returns an error unless the worker runs. It asks nothing of the
// worker itself, because the runner may call it before every job.
func (g *InstanceGroup) Heartbeat(_ context.Context, id string) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	if err := o.Heartbeat(id); err != nil {
		return fmt.Errorf("%w: %w", fleetingprovider.ErrInstanceUnhealthy, err)
	}
	return nil
}

// Suspend asks workers to be suspended and returns those that will be. The
// error, which reaches the runner beside them, is about the others.
func (g *InstanceGroup) Suspend(_ context.Context, ids []string) ([]string, error) {
	o, err := g.suspending()
	if err != nil {
		return nil, err
	}
	return o.Suspend(ids)
}

// Resume asks suspended workers to go on and returns those that will. The
// error, which reaches the runner beside them, is about the others.
func (g *InstanceGroup) Resume(_ context.Context, ids []string) ([]string, error) {
	o, err := g.suspending()
	if err != nil {
		return nil, err
	}
	return o.Resume(ids)
}

// suspending is running, for the methods that need a pool that can suspend.
func (g *InstanceGroup) suspending() (*opened, error) {
	o, err := g.running()
	if err != nil {
		return nil, err
	}
	if !o.CanSuspend() {
		return nil, fleetingprovider.ErrSuspendResumeNotSupported
	}
	return o, nil
}
