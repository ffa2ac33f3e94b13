//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

// settings are what differs between the scenarios' configurations.
type settings struct {
	executor string
	idle     int
	// backend is what runs the workers; empty means the plugin's choice.
	backend string
	// runner, autoscaler and image are added to the tables of these names.
	runner, autoscaler, image string
}

// runnerConfig is the README's configuration with GitLab in a private network,
// and with machines that are small enough for three beside each other.
const runnerConfig = `
concurrent = 4

[[runners]]
  name = "prove"
  id = %d
  url = "http://%s"
  token = %q
  executor = %q
%s
  [runners.autoscaler]
    plugin = %q
    capacity_per_instance = 1
    max_use_count = 1
    max_instances = 4
    delete_instances_on_shutdown = true
    update_interval = "5s"
    update_interval_when_expecting = "250ms"
%s
    [runners.autoscaler.connector_config]
      username = "mayfly"

    [[runners.autoscaler.policy]]
      idle_count = %d
      idle_time = "20m0s"

    [runners.autoscaler.plugin_config]
      state_dir = %q
      backend = %q

    [runners.autoscaler.plugin_config.machine]
      cpus = 1
      memory = "1GiB"

    [runners.autoscaler.plugin_config.network]
      allow = ["%s/32 tcp/80"]

    [runners.autoscaler.plugin_config.image]
%s
`

// configure writes a config.toml, and returns its path.
func (s *stage) configure(set settings) (string, error) {
	text := fmt.Sprintf(runnerConfig, gitlab.RunnerID, gitlabAddress, gitlab.RunnerToken, set.executor, set.runner,
		plugin, set.autoscaler, set.idle, s.stateDir, cmp.Or(set.backend, "auto"), gitlabAddress, set.image)
	path := filepath.Join(s.work, "config.toml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}
