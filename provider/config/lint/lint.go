// Package lint looks at GitLab Runner's whole config.toml and says what does not
// work, and what works and hurts: all at once, each with its line and a remedy. What
// plugin_config may hold, package config knows; what the runner's own settings do to
// this plugin's workers is said here, by a table of rules.
//
// It reads the file, and what the configuration refers to. Nothing of the host is
// looked at here: that is doctor's.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// Level says how serious a finding is.
type Level string

// Levels of findings.
const (
	Error   Level = "error"   // with it there are no workers
	Warning Level = "warning" // works, and hurts
)

// Finding is one thing that is wrong in a file, or hurts.
type Finding struct {
	Level Level  `json:"level"`
	File  string `json:"file"`
	Line  int    `json:"line"`
	// Path is the dotted path of the key in the file.
	Path string `json:"path"`
	// Rule is the name of the rule that found it.
	Rule string `json:"rule"`
	// Text says what is wrong, or hurts, and how to mend it, on one line.
	Text string `json:"text"`
}

func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s: %s [%s]", f.File, f.Line, f.Level, f.Path, f.Text, f.Rule)
}

// SharedMemory is how many bytes workers of all pools share of the host, by the
// configuration of one of them; 0 when that is not known.
type SharedMemory func(config.Config) int64

// Check looks at a file, in whose entries it finds those that this plugin serves.
// Findings are in the order of their lines. The error says why the file could not be
// read as a whole.
func Check(name string, shared SharedMemory) ([]Finding, error) {
	content, err := config.ReadFile(name)
	if err != nil {
		return nil, err
	}
	runners, mistakes := config.Runners(content)
	served := config.Served(runners)
	if len(served) == 0 && len(mistakes) == 0 {
		return nil, fmt.Errorf("%s: no [[runners]] entry uses %s: `config example` shows one", name, config.PluginName)
	}
	f := &file{File: content}
	for _, runner := range served {
		e, wrong := newEntry(content, runner, shared)
		mistakes = append(mistakes, wrong...)
		f.entries = append(f.entries, e)
	}
	var findings []Finding
	add := func(level Level, rule, path, text string) {
		findings = append(findings, Finding{level, name, content.Line(path), path, rule, text})
	}
	for _, m := range mistakes {
		add(Error, ruleMistake, m.Path, m.Text)
	}
	for _, r := range rules {
		for _, h := range r.find(f) {
			add(r.level, r.name, h.path, h.text(r))
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Path, b.Path))
	})
	return findings, nil
}

// Refused tells whether one of the findings is an error.
func Refused(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Error })
}

// file is what the rules look at.
type file struct {
	tomlfile.File
	entries []entry
}

// entry is a [[runners]] entry that this plugin serves.
type entry struct {
	config.Runner
	// runner is the entry itself, and scaler and connector are tables inside.
	runner, scaler, connector tomlfile.Table
	// settings are its plugin_config, if that is good; else nothing is known of it.
	settings config.Config
	good     bool
	// shared is what its workers share with others of the host's memory, if that is known.
	shared int64
}

func newEntry(content tomlfile.File, runner config.Runner, shared SharedMemory) (entry, config.Errors) {
	settings, wrong := runner.Config()
	e := entry{Runner: runner, settings: settings, good: len(wrong) == 0}
	for _, t := range content.Top().Tables("runners") {
		if t.Path == runner.Path {
			e.runner = t
		}
	}
	e.scaler = e.runner.Table("autoscaler")
	e.connector = e.scaler.Table("connector_config")
	if e.good {
		e.shared = shared(settings)
	}
	return e, wrong
}

// plugged is the path of a key of plugin_config.
func (e entry) plugged(key string) string { return e.scaler.At("plugin_config") + "." + key }

// workers is how many jobs the entry's workers run at once at most.
func (e entry) workers() int64 {
	return e.scaler.Number("max_instances", 0) * max(1, e.scaler.Number("capacity_per_instance", 1))
}
