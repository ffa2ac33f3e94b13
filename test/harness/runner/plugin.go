package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/connector"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
)

// initLimit is what GitLab Runner gives a plugin's Init.
const initLimit = time.Minute

// Plugin is a plugin process, and the runner's end of its line.
type Plugin struct {
	provider.InstanceGroup
	// Interval is the pause between two looks at what goes on meanwhile; 20 ms
	// unless it is set.
	Interval time.Duration
	process  *fleeting.Runner
}

// Start starts the program as a plugin that is not initialised. Its log goes
// to log; the caller ends it with Kill or Stop.
func Start(binary string, config map[string]any, log hclog.Logger) (*Plugin, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return start(binary, text, log)
}

func start(binary string, config []byte, log hclog.Logger) (*Plugin, error) {
	process, err := fleeting.RunPlugin(binary, config, fleeting.WithPluginLogger(log))
	if err != nil {
		return nil, err
	}
	return &Plugin{InstanceGroup: process.InstanceGroup(), Interval: 20 * time.Millisecond, process: process}, nil
}

// Kill hangs up on the plugin without Shutdown, and waits a moment for its end
// before it kills it.
func (p *Plugin) Kill() { p.process.Kill() }

// Stop ends the plugin as a runner does.
func (p *Plugin) Stop(ctx context.Context) error {
	defer p.Kill()
	return p.Shutdown(ctx)
}

// Initialise calls Init with empty settings, and waits as long as the runner
// would.
func (p *Plugin) Initialise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, initLimit)
	defer cancel()
	_, err := p.Init(ctx, hclog.NewNullLogger(), provider.Settings{})
	return err
}

// Grow asks for n workers and does not wait for them.
func (p *Plugin) Grow(ctx context.Context, n int) error {
	promised, err := p.Increase(ctx, n)
	if err == nil && promised != n {
		err = fmt.Errorf("%d workers were promised, not %d", promised, n)
	}
	return err
}

// States is what one Update says of all workers.
func (p *Plugin) States(ctx context.Context) (map[string]provider.State, error) {
	states := make(map[string]provider.State)
	err := p.Update(ctx, func(id string, state provider.State) { states[id] = state })
	return states, err
}

// AwaitRunning returns all workers, of which there is one at least, once all
// run. It fails when one of them ends before that.
func (p *Plugin) AwaitRunning(ctx context.Context) (ids []string, err error) {
	err = p.Await(ctx, func(states map[string]provider.State) (bool, error) {
		ids = nil
		for id, state := range states {
			switch state {
			case provider.StateRunning:
				ids = append(ids, id)
			case provider.StateCreating:
			default:
				return false, fmt.Errorf("worker %s is %s", id, state)
			}
		}
		return len(ids) > 0 && len(ids) == len(states), nil
	})
	return ids, err
}

// AwaitState returns once a worker is in a state; other states that it goes
// through on its way there do not matter.
func (p *Plugin) AwaitState(ctx context.Context, id string, wanted provider.State) error {
	return p.Await(ctx, func(states map[string]provider.State) (bool, error) {
		state, reported := states[id]
		if !reported || state == provider.StateDeleted && wanted != state {
			return false, fmt.Errorf("worker %s is gone", id)
		}
		return state == wanted, nil
	})
}

// AwaitDeleted returns once a worker is reported as deleted.
func (p *Plugin) AwaitDeleted(ctx context.Context, id string) error {
	return p.Await(ctx, func(states map[string]provider.State) (bool, error) {
		state, reported := states[id]
		if !reported {
			return false, fmt.Errorf("worker %s is reported no more, and was never reported as deleted", id)
		}
		return state == provider.StateDeleted, nil
	})
}

// Await looks at the workers' states until look is content.
func (p *Plugin) Await(ctx context.Context, look func(map[string]provider.State) (done bool, err error)) error {
	for {
		states, err := p.States(ctx)
		if err != nil {
			return err
		}
		if done, err := look(states); done || err != nil {
			return err
		}
		select {
		case <-time.After(p.Interval):
		case <-ctx.Done():
			return fmt.Errorf("waiting for workers that are %v: %w", states, context.Cause(ctx))
		}
	}
}

// Run runs a script on a worker as a job, and returns what it printed. The
// error says what it printed on stderr.
func (p *Plugin) Run(ctx context.Context, id, script string) (stdout string, err error) {
	info, err := p.ConnectInfo(ctx, id)
	if err != nil {
		return "", err
	}
	return RunJob(ctx, info, script)
}

// RunJob runs a script as a job where it is told, as Run does.
func RunJob(ctx context.Context, info provider.ConnectInfo, script string) (stdout string, err error) {
	var out, problems output.Buffer // a job that is given up may still be printing
	err = connector.Run(ctx, info, connector.ConnectorOptions{
		RunOptions: connector.RunOptions{Command: script, Stdout: &out, Stderr: &problems},
	})
	if said := strings.TrimSpace(problems.String()); said != "" {
		err = errors.Join(err, fmt.Errorf("on stderr: %s", said))
	}
	return out.String(), err
}
