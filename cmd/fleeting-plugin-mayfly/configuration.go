package main

import (
	"errors"

	"github.com/alecthomas/kong"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// configuration is the flags of commands that work with a runner's settings.
type configuration struct {
	Config   path   `placeholder:"FILE" help:"GitLab Runner's config.toml; without it, the defaults."`
	Runner   string `placeholder:"NAME" help:"The [[runners]] entry in it, by name."`
	Backend  string `placeholder:"BACKEND" help:"Use this backend instead."`
	StateDir path   `placeholder:"DIR" help:"Use this state directory instead."`
}

// path is a file or a directory, made absolute. Kong's own type takes an empty
// one, as an unset variable of a script leaves it, for the current directory.
type path string

// UnmarshalText is called by the command line's parser.
func (p *path) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("empty: write a path, or remove it")
	}
	*p = path(kong.ExpandPath(string(text)))
	return nil
}

// load returns the settings that the flags name.
func (c configuration) load() (loaded config.Config, settings config.RunnerSettings, err error) {
	switch {
	case c.Config != "":
		loaded, settings, err = config.Load(string(c.Config), c.Runner)
	case c.Runner != "":
		err = usageError{errors.New("--runner names an entry of a file: add --config FILE")}
	default:
		loaded = config.Default()
	}
	if err != nil || (c.Backend == "" && c.StateDir == "") {
		return loaded, settings, err
	}
	changed, err := loaded.With(func(to *config.Config) {
		if c.Backend != "" {
			to.Backend = c.Backend
		}
		if c.StateDir != "" {
			to.StateDir = string(c.StateDir)
		}
	})
	if err != nil {
		return config.Config{}, config.RunnerSettings{}, usageError{err}
	}
	return changed, settings, nil
}
