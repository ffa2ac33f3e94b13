//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

type options struct {
	runner, plugin string // the two programs
	stateDir       string // keeps images for the next run; empty means a new one
	scenarios      []scenario
}

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	flags.StringVar(&o.runner, "runner", "", "the path of gitlab-runner")
	flags.StringVar(&o.plugin, "plugin", "bin/fleeting-plugin-mayfly", "the path of the built plugin")
	flags.StringVar(&o.stateDir, "state-dir", "",
		"where images are kept; without it, a new directory that is removed in the end")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if o.runner == "" {
		return options{}, errors.New("name a gitlab-runner with -runner")
	}
	for _, path := range []*string{&o.runner, &o.plugin, &o.stateDir} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return options{}, err
		}
	}
	for _, program := range []string{o.runner, o.plugin} {
		if _, err := os.Stat(program); err != nil {
			return options{}, err
		}
	}
	if os.Geteuid() != 0 {
		return options{}, errors.New("machines with networks of their own need root: run it as root")
	}
	var err error
	o.scenarios, err = chosen(flags.Args())
	return o, err
}

// chosen are the scenarios of these names, or all.
func chosen(names []string) ([]scenario, error) {
	if len(names) == 0 {
		return scenarios, nil
	}
	var some []scenario
	for _, name := range names {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q", name)
		}
		some = append(some, scenarios[i])
	}
	return some, nil
}
