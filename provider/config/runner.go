package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// PluginName is what a runner's `plugin` setting calls us.
const PluginName = "fleeting-plugin-mayfly"

// RunnerSettings are what a [[runners]] entry says beside plugin_config, for
// those who stand in for the runner.
type RunnerSettings struct {
	// Username is the account that jobs log in to; empty when not given.
	Username string
}

// Runner is what concerns us of a [[runners]] entry. The rest is the runner's own
// to check.
type Runner struct {
	// Path is where the entry stands in its file, as package tomlfile writes it.
	Path string
	Name string
	// Plugin names the plugin, and Username is the account that jobs log in to.
	Plugin, Username string
	MaxInstances     int64

	scaled bool // it has an autoscaler
	config any
}

// Load reads GitLab Runner's config.toml. The runner is found by its name; an
// empty name stands for the only entry that uses this plugin or fleetingd, or
// for the only entry at all. The error wraps an Errors when it is plugin_config
// that is wrong, or what the runner would only find out when it starts us.
func Load(file, runner string) (Config, RunnerSettings, error) {
	content, err := ReadFile(file)
	if err != nil {
		return Config{}, RunnerSettings{}, err
	}
	entries, mistakes := Runners(content)
	entry, err := choose(entries, runner)
	if wrong := mistakes.err(); err != nil && wrong != nil { // by which the choice may have failed
		return Config{}, RunnerSettings{}, fmt.Errorf("%s:\n%w", file, wrong)
	}
	if err != nil {
		return Config{}, RunnerSettings{}, fmt.Errorf("%s: %w", file, err)
	}
	config, err := entry.parse(mistakes)
	if err != nil {
		return Config{}, RunnerSettings{}, fmt.Errorf("%s, %s:\n%w", file, entry.describe(), err)
	}
	return config, RunnerSettings{Username: entry.Username}, nil
}

// ReadFile reads GitLab Runner's config.toml, with the lines of what is in it.
func ReadFile(file string) (tomlfile.File, error) {
	data, err := ReadBounded(file)
	if err != nil {
		return tomlfile.File{}, fmt.Errorf("reading the runner's configuration: %w", err)
	}
	content, err := tomlfile.Parse(data)
	if err != nil {
		return tomlfile.File{}, explainSyntax(file, err)
	}
	return content, nil
}

// Runners are the [[runners]] entries of a file. What is of a wrong type is a mistake,
// and counts as not given.
func Runners(file tomlfile.File) ([]Runner, Errors) {
	var mistakes Errors
	return readEntries(file.Values["runners"], &mistakes), mistakes
}

// Served are the entries whose workers this plugin makes, or fleetingd did: those that
// say so, or else the only one there is.
func Served(entries []Runner) []Runner {
	ours := slices.DeleteFunc(slices.Clone(entries), func(r Runner) bool { return !r.isOurs() })
	if len(ours) == 0 && len(entries) == 1 {
		return entries
	}
	return ours
}

// ReadBounded reads a configuration that the user named, which may be a pipe.
func ReadBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("%s has more than the %d bytes that are read: name the config.toml of GitLab Runner",
			path, maxConfig)
	}
	return data, err
}

// explainSyntax says what the library says, and how entries begin where it is
// that which it does not understand.
func explainSyntax(file string, err error) error {
	reason, mend := strings.TrimPrefix(err.Error(), "toml: "), "mend that line"
	var syntax *toml.DecodeError
	if !errors.As(err, &syntax) {
		return fmt.Errorf("%s: not valid TOML: %s", file, reason)
	}
	line, _ := syntax.Position()
	if slices.Equal(syntax.Key(), toml.Key{"runners"}) {
		mend = "begin each entry with [[runners]], in two brackets, above all tables of the entry"
	}
	return fmt.Errorf("%s, line %d: not valid TOML: %s: %s", file, line, reason, mend)
}

func readEntries(value any, m *Errors) []Runner {
	list, ok := value.([]any)
	if _, single := value.(map[string]any); single {
		m.add("runners", "want a list of tables, have a table: write [[runners]], in two brackets")
		return []Runner{readEntry("runners", value, m)}
	}
	if !ok && value != nil {
		m.add("runners", "want a list of tables, have %s: begin each entry with [[runners]]", describe(value))
	}
	var entries []Runner
	for i, value := range list {
		entries = append(entries, readEntry(tomlfile.At("runners", i), value, m))
	}
	return entries
}

func readEntry(path string, value any, m *Errors) Runner {
	entry := table{path: path}
	var ok bool
	if entry.values, ok = value.(map[string]any); !ok {
		m.add(path, "want a table, have %s: begin each entry with [[runners]]", describe(value))
	}
	e := Runner{Path: path}
	e.Name, _ = aString.of(m, entry.at("name"), `"mayfly"`)
	scaler := readTable(m, entry.at("autoscaler"), "[runners.autoscaler]")
	connector := readTable(m, scaler.at("connector_config"), "[runners.autoscaler.connector_config]")
	e.scaled, e.config = scaler.values != nil, scaler.values["plugin_config"]
	plugin := scaler.at("plugin")
	if plugin.value == nil { // one table too high, as in fleetingd's README
		plugin = entry.at("plugin")
	}
	e.Plugin, _ = aString.of(m, plugin, strconv.Quote(PluginName))
	e.MaxInstances, _ = aWhole.of(m, scaler.at("max_instances"), "10")
	e.Username, _ = aString.of(m, connector.at("username"), `"mayfly"`)
	return e
}

func choose(entries []Runner, name string) (Runner, error) {
	if len(entries) == 0 {
		return Runner{}, errors.New("there is no [[runners]] entry: register a runner first")
	}
	fitting := Served(entries)
	if name != "" {
		fitting = slices.DeleteFunc(slices.Clone(entries), func(r Runner) bool { return r.Name != name })
	}
	switch {
	case len(fitting) > 1 && fitting[0].Name == fitting[1].Name:
		return Runner{}, fmt.Errorf("more than one [[runners]] entry is named %q: give each a name of its own",
			fitting[0].Name)
	case len(fitting) > 1:
		return Runner{}, fmt.Errorf("more than one [[runners]] entry fits: add --runner with one of %s",
			names(fitting))
	case len(fitting) == 0 && name == "":
		return Runner{}, fmt.Errorf("no [[runners]] entry uses %s: add --runner with one of %s",
			PluginName, names(entries))
	case len(fitting) == 0:
		return Runner{}, fmt.Errorf("no [[runners]] entry is named %q: choose one of %s", name, names(entries))
	case !fitting[0].scaled:
		return Runner{}, fmt.Errorf("runner %q has no [runners.autoscaler]: `config example` shows one",
			fitting[0].Name)
	}
	return fitting[0], nil
}

func names(entries []Runner) string {
	quoted := make([]string, len(entries))
	for i, entry := range entries {
		quoted[i] = fmt.Sprintf("%q", entry.Name)
	}
	return strings.Join(quoted, ", ")
}

// isOurs tells whether plugin_config is meant for us. The plugin may be a name,
// a path or a registry's reference with a tag.
func (r Runner) isOurs() bool { return r.Named() || strings.Contains(path.Base(r.Plugin), "fleetingd") }

// Named tells whether the entry's plugin is this one.
func (r Runner) Named() bool {
	plugin, _, _ := strings.Cut(path.Base(r.Plugin), ":")
	return plugin == PluginName
}

// describe names the entry in a message about it. Whose plugin_config was read,
// when it is another plugin's, explains most of what is wrong with it.
func (r Runner) describe() string {
	text := fmt.Sprintf("runner %q", r.Name)
	if r.Plugin != "" && !r.isOurs() {
		text += fmt.Sprintf(", whose plugin is %q", r.Plugin)
	}
	return text
}

// Config is the entry's plugin_config, checked. Mistakes have their paths in the whole
// file.
func (r Runner) Config() (Config, Errors) {
	c, err := r.parse(nil)
	var mistakes Errors
	if err != nil && !errors.As(err, &mistakes) {
		mistakes.add(root, "%v", err)
	}
	for i := range mistakes {
		mistakes[i].Path = r.Path + ".autoscaler." + mistakes[i].Path
	}
	return c, mistakes
}

// parse goes by way of JSON, as the runner does: what passes here passes there.
// It adds to the mistakes that are known of the file.
func (r Runner) parse(mistakes Errors) (Config, error) {
	data, err := json.Marshal(r.config)
	if err != nil {
		mistakes.add(root, "cannot be handed over as JSON, %v: remove the value", err)
		return Config{}, mistakes.err()
	}
	var wrong Errors
	config, err := parse(data, PoolImages, PoolShell, PoolTry)
	if err != nil && !errors.As(err, &wrong) {
		return Config{}, err
	}
	mistakes = append(mistakes, wrong...)
	r.check(&mistakes, config)
	return config, mistakes.err()
}

// check refuses those of the runner's own settings with which the plugin would
// not start. The configuration is empty when it has mistakes itself.
func (r Runner) check(m *Errors, c Config) {
	if user := r.Username; user != "" {
		set(m, "connector_config.username", &user, user, parseLoginUser)
	}
	if len(*m) == 0 && r.MaxInstances > int64(c.MaxWorkers()) {
		m.add("max_instances", "%d is more than the %d workers of this pool, with which no plugin starts: write a "+
			"smaller number, or a larger host.max_workers or network.subnet, or remove machine.devices if it is there",
			r.MaxInstances, c.MaxWorkers())
	}
}
