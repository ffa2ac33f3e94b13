package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// root is what every path begins with: the table's name in config.toml.
const root = "plugin_config"

// maxConfig is how many bytes a configuration may have: a parser needs memory for each
// level of nested values, and the time for a key of many parts grows with its square.
const maxConfig = 512 << 10

// reading is a plugin_config on its way into a Config.
type reading struct {
	Errors
	// given is every key that there is, by its path without the root, with the
	// path at which the file has it: fleetingd's names for keys are others.
	given map[string]given
}

// Parse reads plugin_config as GitLab Runner hands it over: as JSON, made from
// the table in its config.toml. Nothing and null give the defaults. The error
// is always an Errors with every mistake. The pool may be PoolTry: that command
// starts the plugin as the runner does.
func Parse(data []byte) (Config, error) { return parse(data, PoolImages, PoolShell) }

// parse is Parse with the names that the pool must not have.
func parse(data []byte, reserved ...string) (Config, error) {
	c := Default()
	sections := c.sections()
	r := &reading{given: make(map[string]given)}
	r.find(r.top(data), sections)
	for _, s := range sections {
		for _, k := range s.keys {
			if path := s.path(k); !k.value.read(&r.Errors, r.given[path], k.instance()) {
				r.given[path] = given{path: r.path(path)}
			}
		}
	}
	for _, s := range sections {
		if s.together != nil {
			s.together(r)
		}
	}
	if slices.Contains(reserved, c.Pool) {
		r.refuse("pool", "%q is what a command of this program calls its own pool: choose another name", c.Pool)
	}
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// decode keeps numbers as they are written, for 1.5 CPUs to be refused rather
// than rounded. Keys given twice need no check: TOML refuses them before.
func decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after its end: remove it")
	}
	return value, nil
}

// top is the table of all.
func (r *reading) top(data []byte) table {
	all := table{path: root}
	if len(bytes.TrimSpace(data)) == 0 {
		return all
	}
	if len(data) > maxConfig {
		r.add(root, "has %d bytes, more than the %d that are read: make it smaller", len(data), maxConfig)
		return all
	}
	value, err := decode(data)
	if err != nil {
		r.add(root, "not valid JSON: %v", err)
		return all
	}
	var ok bool
	if all.values, ok = value.(map[string]any); !ok && value != nil {
		r.add(root, "want a table, have %s: write [runners.autoscaler.plugin_config]", describe(value))
	}
	return all
}

// find notes the value of every key, and refuses keys that do not exist.
func (r *reading) find(all table, sections []section) {
	tables, known := make([]table, len(sections)), make([][]string, len(sections))
	for i, s := range sections {
		tables[i] = all
		if s.name != "" {
			tables[i] = readTable(&r.Errors, all.at(s.name), "[runners.autoscaler.plugin_config."+s.name+"]")
			known[0] = append(known[0], s.name)
		}
		for _, k := range s.keys {
			r.given[s.path(k)] = tables[i].at(k.name)
			known[i] = append(known[i], k.name)
		}
	}
	for _, flat := range flatKeys {
		known[0] = append(known[0], flat.name)
		r.replace(flat, all.at(flat.name))
	}
	for i, t := range tables {
		for name := range t.values {
			if !slices.Contains(known[i], name) {
				r.add(tomlfile.Join(t.path, name), "unknown key: %s", advise(name, i, tables, known))
			}
		}
	}
}

// advise says what an unknown key most likely meant. In TOML a line too high or
// too low is enough for a key to end up in another table.
func advise(name string, in int, tables []table, known [][]string) string {
	if near := Closest(name, known[in]); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for i, other := range known {
		if slices.Contains(other, name) {
			return fmt.Sprintf("did you mean %s?", tomlfile.Join(tables[i].path, name))
		}
	}
	return "remove it, or use one of " + strings.Join(known[in], ", ")
}

// path is where a key stands in the file, or would stand.
func (r *reading) path(key string) string { return r.given[key].path }

// refuse adds a mistake of a key.
func (r *reading) refuse(key, format string, args ...any) { r.add(r.path(key), format, args...) }

// gave tells whether the file has a value of the right type for a key, right or
// wrong.
func (r *reading) gave(key string) bool { return r.given[key].value != nil }

// wrong tells whether one of the keys is known to be wrong, so that a check of
// several need not say so again.
func (r *reading) wrong(keys ...string) bool {
	return slices.ContainsFunc(r.Errors, func(m Mistake) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return r.path(key) == m.Path })
	})
}
