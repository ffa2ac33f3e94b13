package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// root is what every path begins with: the table's name in config.toml.
const root = "plugin_config"

// Parse reads plugin_config as GitLab Runner hands it over: as JSON, made from
// the table in its config.toml. Nothing and null give the defaults. The error
// is always an Errors with every mistake. The pool may be PoolTry: that command
// starts the plugin as the runner does.
func Parse(data []byte) (Config, error) { return parse(data, PoolImages) }

// parse is Parse with the names that the pool must not have.
func parse(data []byte, reserved ...string) (Config, error) {
	var mistakes Errors
	t := &table{path: root, values: decode(data, &mistakes), mistakes: &mistakes}
	raw := readRaw(t)
	config := raw.parse(&mistakes)
	raw.checkPool(&mistakes, config, reserved)
	if err := mistakes.err(); err != nil {
		return Config{}, err
	}
	return config, nil
}

// decode keeps numbers as they are written, for 1.5 CPUs to be refused rather
// than rounded. Keys given twice need no check: TOML refuses them before.
func decode(data []byte, m *Errors) map[string]any {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		m.add(root, "not valid JSON: %v", err)
		return nil
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		m.add(root, "not valid JSON: there is more after its end: remove it")
		return nil
	}
	values, ok := value.(map[string]any)
	if !ok && value != nil {
		m.add(root, "want a table, have %s: write [runners.autoscaler.plugin_config]", describe(value))
	}
	return values
}

func (r raw) parse(m *Errors) Config {
	c := Default()
	set(m, r.pool, &c.Pool, parsePool)
	set(m, r.backend, &c.Backend, parseBackend)
	set(m, r.stateDir, &c.StateDir, parseStateDir)
	r.checkSocketPath(m, c)
	r.image.parse(m, &c.Image)
	r.machine.parse(m, &c.Machine)
	r.network.parse(m, &c.Network)
	r.fork.parse(m, &c.Fork)
	r.nspawn.parse(m, &c.Nspawn)
	r.host.parse(m, &c.Host)
	r.cloudHypervisor.parse(m, &c.CloudHypervisor)
	r.checkCapacity(m, c)
	r.tart.parse(m, &c.Tart)
	r.bhyve.parse(m, &c.Bhyve)
	r.checkHome(m, c)
	r.checkSource(m, c)
	return c
}

// set parses a given value into its place. What is not given, or is wrong,
// leaves the default there.
func set[F, T any](m *Errors, g given[F], place *T, parse func(F) (T, error)) {
	if !g.set {
		return
	}
	value, err := parse(g.value)
	if err != nil {
		m.add(g.path, "%v", err)
		return
	}
	*place = value
}

// setEach is set for a list. A list that is given is never nil, even when it
// is empty: to deny nothing is not the same as to say nothing.
func setEach[T any](m *Errors, g given[[]string], place *[]T, parse func(string) (T, error)) {
	if !g.set {
		return
	}
	*place = make([]T, len(g.value))
	for i, text := range g.value {
		set(m, given[string]{path: at(g.path, i), value: text, set: true}, &(*place)[i], parse)
	}
}
