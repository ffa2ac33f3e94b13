package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// PluginName is what a runner's `plugin` setting calls us.
const PluginName = "fleeting-plugin-mayfly"

// RunnerSettings are what a [[runners]] entry says beside plugin_config, for
// those who stand in for the runner.
type RunnerSettings struct {
	// Username is the account that jobs log in to; empty when not given.
	Username string
}

// runnerFile is the part of GitLab Runner's config.toml that concerns us. The
// rest is the runner's own to check.
type runnerFile struct {
	Runners []runnerEntry `toml:"runners"`
}

type runnerEntry struct {
	Name       string      `toml:"name"`
	Autoscaler *autoscaler `toml:"autoscaler"`
}

type autoscaler struct {
	Plugin          string          `toml:"plugin"`
	MaxInstances    int             `toml:"max_instances"`
	PluginConfig    any             `toml:"plugin_config"`
	ConnectorConfig connectorConfig `toml:"connector_config"`
}

type connectorConfig struct {
	Username string `toml:"username"`
}

// Load reads GitLab Runner's config.toml. The runner is found by its name; an
// empty name stands for the only entry that uses this plugin or fleetingd, or
// for the only entry at all. The error wraps an Errors when it is plugin_config
// that is wrong, or what the runner would only find out when it starts us.
func Load(file, runner string) (Config, RunnerSettings, error) {
	entries, err := readRunners(file)
	if err != nil {
		return Config{}, RunnerSettings{}, err
	}
	entry, err := choose(entries, runner)
	if err != nil {
		return Config{}, RunnerSettings{}, fmt.Errorf("%s: %w", file, err)
	}
	config, err := entry.parse()
	if err != nil {
		return Config{}, RunnerSettings{}, fmt.Errorf("%s, %s:\n%w", file, entry.describe(), err)
	}
	return config, RunnerSettings{Username: entry.Autoscaler.ConnectorConfig.Username}, nil
}

func readRunners(file string) ([]runnerEntry, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the runner's configuration: %w", err)
	}
	var content runnerFile
	if err := toml.Unmarshal(data, &content); err != nil {
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			line, _ := syntax.Position()
			return nil, fmt.Errorf("%s, line %d: %w", file, line, err)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return content.Runners, nil
}

func choose(entries []runnerEntry, name string) (runnerEntry, error) {
	if len(entries) == 0 {
		return runnerEntry{}, errors.New("there is no [[runners]] entry: register a runner first")
	}
	fitting := filter(entries, func(e runnerEntry) bool { return e.Name == name })
	if name == "" {
		fitting = filter(entries, runnerEntry.isOurs)
		if len(fitting) == 0 && len(entries) == 1 {
			fitting = entries
		}
	}
	switch {
	case len(fitting) > 1 && fitting[0].Name == fitting[1].Name:
		return runnerEntry{}, fmt.Errorf("more than one [[runners]] entry is named %q: give each a name of its own", fitting[0].Name)
	case len(fitting) > 1:
		return runnerEntry{}, fmt.Errorf("more than one [[runners]] entry fits: add --runner with one of %s", names(fitting))
	case len(fitting) == 0 && name == "":
		return runnerEntry{}, fmt.Errorf("no [[runners]] entry uses %s: add --runner with one of %s", PluginName, names(entries))
	case len(fitting) == 0:
		return runnerEntry{}, fmt.Errorf("no [[runners]] entry is named %q: choose one of %s", name, names(entries))
	case fitting[0].Autoscaler == nil:
		return runnerEntry{}, fmt.Errorf("runner %q has no [runners.autoscaler]: `config example` shows one", fitting[0].Name)
	}
	return fitting[0], nil
}

func filter(entries []runnerEntry, keep func(runnerEntry) bool) []runnerEntry {
	var kept []runnerEntry
	for _, entry := range entries {
		if keep(entry) {
			kept = append(kept, entry)
		}
	}
	return kept
}

func names(entries []runnerEntry) string {
	quoted := make([]string, len(entries))
	for i, entry := range entries {
		quoted[i] = fmt.Sprintf("%q", entry.Name)
	}
	return strings.Join(quoted, ", ")
}

// isOurs tells whether plugin_config is meant for us. The plugin may be a name,
// a path or a registry's reference with a tag.
func (e runnerEntry) isOurs() bool {
	if e.Autoscaler == nil {
		return false
	}
	plugin, _, _ := strings.Cut(path.Base(e.Autoscaler.Plugin), ":")
	return plugin == PluginName || strings.Contains(plugin, "fleetingd")
}

// describe names the entry in a message about it. Whose plugin_config was read,
// when it is another plugin's, explains most of what is wrong with it.
func (e runnerEntry) describe() string {
	text := fmt.Sprintf("runner %q", e.Name)
	if plugin := e.Autoscaler.Plugin; plugin != "" && !e.isOurs() {
		text += fmt.Sprintf(", whose plugin is %q", plugin)
	}
	return text
}

// parse goes by way of JSON, as the runner does: what passes here passes there.
func (e runnerEntry) parse() (Config, error) {
	data, err := json.Marshal(e.Autoscaler.PluginConfig)
	if err != nil {
		return Config{}, Errors{{Path: root, Text: fmt.Sprintf("cannot be handed over as JSON, %v: remove the value", err)}}
	}
	var mistakes Errors
	config, err := parse(data, PoolImages, PoolTry)
	if err != nil && !errors.As(err, &mistakes) {
		return Config{}, err
	}
	e.Autoscaler.check(&mistakes, config)
	return config, mistakes.err()
}

// check refuses those of the runner's own settings with which the plugin would
// not start. The configuration is empty when it has mistakes itself.
func (a autoscaler) check(m *Errors, c Config) {
	user := a.ConnectorConfig.Username
	set(m, given[string]{path: "connector_config.username", value: user, set: user != ""}, &user, parseLoginUser)
	if len(*m) == 0 && a.MaxInstances > c.MaxWorkers() {
		m.add("max_instances", "%d is more than the %d workers of this pool, with which no plugin starts: write a smaller number, "+
			"or a larger host.max_workers or network.subnet", a.MaxInstances, c.MaxWorkers())
	}
}
