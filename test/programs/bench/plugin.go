//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// updateInterval is how often the plugin is asked, as by a runner with the
// recommended update_interval_when_expecting. When a worker was ready, its
// record says.
const updateInterval = 250 * time.Millisecond

// plugin makes workers as GitLab Runner has them made: by the built program, a
// plugin process, through fleeting's protocol.
type plugin struct {
	method  string // one of poolOf
	how     string // the same in the backend's words; empty is either
	spares  int    // how many are in stock before any is asked for
	process *runner.Plugin
	records *store.Store
}

// startPlugin starts the program and has it open its pool.
func startPlugin(ctx context.Context, binary, method string, c config.Config, log hclog.Logger) (*plugin, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var settings map[string]any
	if err := json.Unmarshal(text, &settings); err != nil {
		return nil, err
	}
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return nil, err
	}
	process, err := runner.Start(binary, settings, log)
	if err != nil {
		return nil, fmt.Errorf("starting the plugin for the %s: %w", method, err)
	}
	if err := process.Initialise(ctx); err != nil {
		process.Kill()
		return nil, fmt.Errorf("initialising the plugin for the %s: %w", method, err)
	}
	process.Interval = updateInterval
	how := backend.Clone
	switch {
	case method == report.TemplateFirst:
		how = ""
	case c.Fork.Enabled:
		how = backend.Fork
	}
	return &plugin{method, how, c.Fork.Spares, process, records}, nil
}

func (p *plugin) name() string { return p.method }

func (p *plugin) stop(ctx context.Context) error { return p.process.Stop(ctx) }

// errOtherWay says that a worker was made in another way than the one that is
// measured, such as a clone where there is no template yet.
var errOtherWay = errors.New("not made in the way that is measured")

func (p *plugin) start(ctx context.Context, n int) ([]worker, error) {
	if err := p.awaitSpares(ctx); err != nil {
		return nil, err
	}
	before, err := p.process.States(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.process.Grow(ctx, n); err != nil {
		return nil, err
	}
	ids, err := p.process.AwaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	var workers []worker
	for _, id := range ids {
		if _, old := before[id]; old {
			continue
		}
		w, err := p.look(id, began)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// look learns from its record how a worker became ready that was asked for when
// it began.
func (p *plugin) look(id string, began time.Time) (worker, error) {
	record, err := p.records.Load(id)
	if err != nil {
		return worker{}, err
	}
	if p.how != "" && record.How != p.how {
		return worker{}, fmt.Errorf("%s is a %s: %w", id, record.How, errOtherWay)
	}
	session := record.ReadyAt.Sub(began)
	return worker{
		id: id, dir: p.records.Dir(id), address: record.Address, how: record.How,
		ready: session.Seconds() - record.Phases["ready."+access.PhaseSession],
		run:   func(ctx context.Context, script string) (string, error) { return p.process.Run(ctx, id, script) },
		start: report.Start{Ready: seconds(session), Promised: seconds(record.CreatedAt.Sub(began)),
			Phases: record.Phases},
	}, nil
}

// awaitSpares waits until the stock is full.
func (p *plugin) awaitSpares(ctx context.Context) error {
	return p.process.Await(ctx, func(map[string]fleetingprovider.State) (bool, error) {
		ids, err := p.records.List()
		if err != nil {
			return false, err
		}
		spares := 0
		for _, id := range ids {
			if record, err := p.records.Load(id); err == nil && pool.State(record.State) == pool.Spare {
				spares++
			}
		}
		return spares == p.spares, nil
	})
}

// remove asks for the end of all workers until none is reported any more.
func (p *plugin) remove(ctx context.Context) error {
	return p.process.Await(ctx, func(states map[string]fleetingprovider.State) (bool, error) {
		var ids []string
		for id, state := range states {
			if state == fleetingprovider.StateRunning || state == fleetingprovider.StateCreating {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			_, err := p.process.Decrease(ctx, ids)
			return false, err
		}
		return len(states) == 0, nil
	})
}
