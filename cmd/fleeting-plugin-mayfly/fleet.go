package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/connector"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"
	"gitlab.com/gitlab-org/fleeting/taskscaler"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// initLimit is what GitLab Runner gives a plugin's Init.
	initLimit = time.Minute
	// stopLimit bounds the end of the plugin, workers included.
	stopLimit = 2 * time.Minute
	// exitLost is the exit code of a job whose connection failed, as ssh has it.
	exitLost = 255
)

// fleet is a plugin process with the runner's scaling loop in front of it.
type fleet struct {
	plugin  *fleeting.Runner
	scaler  taskscaler.Taskscaler
	records *store.Store
	log     hclog.Logger

	// ctx ends with the caller's, and when abandon says that no job will run.
	ctx     context.Context
	abandon context.CancelCauseFunc
}

// startFleet starts this very program as the plugin, with the settings that a
// runner would have for one job on each worker. What the plugin logs goes to
// stderr.
func startFleet(ctx context.Context, c config.Config, user string, instances int, stderr io.Writer) (*fleet, error) {
	settings, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing plugin_config: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding our own program, the plugin: %w", err)
	}
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return nil, err
	}
	log := hclog.New(&hclog.LoggerOptions{
		Name: "try", Level: hclog.Info, Output: withoutTimestamps{stderr}, IndependentLevels: true,
	})
	plugin, err := fleeting.RunPlugin(self, settings, fleeting.WithPluginLogger(log))
	if err != nil {
		return nil, fmt.Errorf("starting the plugin: %w", err)
	}
	f := &fleet{plugin: plugin, records: records, log: log}
	f.ctx, f.abandon = context.WithCancelCause(ctx)
	if err := f.scale(user, instances); err != nil {
		plugin.Kill()
		return nil, err
	}
	return f, nil
}

// scale starts the runner's loop. Its own log is left out: it is about scaling,
// and calls the end of the loop an error. What a person needs to know, watched
// tells.
func (f *fleet) scale(user string, instances int) error {
	ctx, cancel := context.WithTimeout(f.ctx, initLimit)
	defer cancel()
	quiet := f.log.Named("runner")
	quiet.SetLevel(hclog.Off)
	var err error
	f.scaler, err = taskscaler.New(ctx, newWatched(f.plugin.InstanceGroup(), f.abandon),
		taskscaler.WithLogger(quiet),
		taskscaler.WithMaxInstances(instances),
		taskscaler.WithCapacityPerInstance(1),
		taskscaler.WithMaxUseCount(1),
		taskscaler.WithDeleteInstancesOnShutdown(),
		taskscaler.WithAcquireDelay(250*time.Millisecond),
		taskscaler.WithUpdateInterval(time.Second),
		taskscaler.WithUpdateIntervalWhenExpecting(250*time.Millisecond),
		taskscaler.WithShutdownDeletionInterval(250*time.Millisecond),
		taskscaler.WithInstanceGroupSettings(fleetingprovider.Settings{
			ConnectorConfig: fleetingprovider.ConnectorConfig{Username: user},
		}),
	)
	return err
}

// stop ends all workers and then the plugin.
func (f *fleet) stop() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), stopLimit)
	defer cancel()
	f.abandon(nil)
	f.scaler.Shutdown(ctx)
	f.plugin.Kill()
}

// run runs a script on a worker of its own. An error says that the script was not
// run to its end; how it ended is in the job.
func (f *fleet) run(key, script string) (*job, error) {
	acquisition, err := f.scaler.Acquire(f.ctx, key)
	if err != nil {
		return nil, fmt.Errorf("%s: waiting for a worker: %w", key, context.Cause(f.ctx))
	}
	defer f.scaler.Release(key)
	info, err := acquisition.InstanceConnectInfo(f.ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: asking how to connect to %s: %w", key, acquisition.InstanceID(), err)
	}
	record, err := f.records.Load(acquisition.InstanceID())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	j := &job{
		Worker: record.ID, How: record.How, ReadySeconds: readySeconds(record),
		acceleration: record.Acceleration,
	}
	err = j.run(f.ctx, info, script)
	if j.ExitCode == exitLost {
		j.Stderr += f.whyLost(record.ID)
	}
	return j, err
}

// endLimit is how long the end of a worker may take to be known after that of its
// job's connection.
const endLimit = 10 * time.Second

// whyLost says why a worker ended whose connection broke, if it did. The runner does
// not know that.
func (f *fleet) whyLost(id string) string {
	ctx, cancel := context.WithTimeout(f.ctx, endLimit)
	defer cancel()
	for {
		ended, err := f.records.Ended()
		if err != nil {
			return ""
		}
		for _, e := range ended {
			if e.ID == id {
				return fmt.Sprintf("worker %s: %s\n", id, e.Reason)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ""
		}
	}
}

// run runs the script as the runner would. A connection that breaks fails the
// job; an error says that ctx ended first.
func (j *job) run(ctx context.Context, info fleetingprovider.ConnectInfo, script string) error {
	var stdout, stderr bytes.Buffer
	began := time.Now()
	err := connector.Run(ctx, info, connector.ConnectorOptions{
		RunOptions: connector.RunOptions{Command: script, Stdout: &stdout, Stderr: &stderr},
	})
	j.seconds = time.Since(began).Seconds()
	var ran *connector.ExitError
	if errors.As(err, &ran) {
		err = ran.Unwrap() // the connector's own says 0 when the connection broke
	}
	var exit *ssh.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		j.ExitCode = exit.ExitStatus()
	default:
		j.ExitCode = exitLost
		fmt.Fprintf(&stderr, "connection lost: %v\n", err)
	}
	j.Stdout, j.Stderr = stdout.String(), stderr.String()
	return context.Cause(ctx)
}
