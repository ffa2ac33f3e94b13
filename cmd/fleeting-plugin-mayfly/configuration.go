package main

import (
	"errors"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// configuration is the flags of commands that work with a runner's settings.
type configuration struct {
	Config   string `placeholder:"FILE" type:"path" help:"GitLab Runner's config.toml; without it, the defaults."`
	Runner   string `placeholder:"NAME" help:"The [[runners]] entry in it, by name."`
	Backend  string `placeholder:"BACKEND" help:"Use this backend instead."`
	StateDir string `placeholder:"DIR" type:"path" help:"Use this state directory instead."`
}

// load returns the settings that the flags name.
func (c configuration) load() (config.Config, config.RunnerSettings, error) {
	loaded, settings, err := c.read()
	if err != nil || (c.Backend == "" && c.StateDir == "") {
		return loaded, settings, err
	}
	changed, err := loaded.With(func(to *config.Config) {
		if c.Backend != "" {
			to.Backend = c.Backend
		}
		if c.StateDir != "" {
			to.StateDir = c.StateDir
		}
	})
	if err != nil {
		return config.Config{}, config.RunnerSettings{}, usageError{err}
	}
	return changed, settings, nil
}

func (c configuration) read() (config.Config, config.RunnerSettings, error) {
	if c.Config != "" {
		return config.Load(c.Config, c.Runner)
	}
	if c.Runner != "" {
		return config.Config{}, config.RunnerSettings{}, usageError{errors.New("--runner names an entry of a file: add --config FILE")}
	}
	return config.Default(), config.RunnerSettings{}, nil
}
