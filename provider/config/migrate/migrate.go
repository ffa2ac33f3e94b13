// Package migrate turns the set-ups of others into a config.toml of ours: fleetingd's,
// the Tart executor's, nspawn-runner's, and the guests of a script for vm-bhyve. It
// gives a text; each line that it changes has a remark above it, and what has no
// equivalent here is said in a remark. Files are read and written elsewhere.
package migrate

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// Text makes our config.toml of a file: of one whose name ends in .conf, which is a guest's
// of vm-bhyve, or else of a config.toml.
func Text(name, text string) (string, error) {
	of := ofConfigToml
	if guest, ok := strings.CutSuffix(filepath.Base(name), ".conf"); ok {
		of = func(text string) (string, error) { return ofGuest(guest, text) }
	}
	made, err := of(text)
	if err != nil {
		return "", err
	}
	if _, err := tomlfile.Parse([]byte(made)); err != nil {
		return "", fmt.Errorf("what is made of it is no TOML, most likely as it has keys of ours beside those of the "+
			"other set-up: remove the one or the other: %w", err)
	}
	return made, nil
}

// ofConfigToml rewrites the entries that are of a set-up which is known here. All others,
// and all comments, stay as they are.
func ofConfigToml(text string) (string, error) {
	file, err := tomlfile.Parse([]byte(text))
	if err != nil {
		return "", err
	}
	e := newEditor(text, file)
	known := 0
	for _, entry := range file.Top().Tables("runners") {
		if from := seedOf(entry); from != nil {
			from(e, entry)
			known++
		}
	}
	if known == 0 {
		return "", errors.New("no [[runners]] entry is fleetingd's, the Tart executor's, nspawn-runner's or " +
			"that of a script for vm-bhyve: `config example` shows one of ours")
	}
	e.concurrent()
	return e.result()
}

// seed rewrites an entry of one set-up.
type seed func(*editor, tomlfile.Table)

// seedOf recognises an entry by what it starts.
func seedOf(entry tomlfile.Table) seed {
	if strings.Contains(plugin(entry), "fleetingd") {
		return fromFleetingd
	}
	if entry.Text("executor") != "custom" {
		return nil
	}
	custom := entry.Table("custom")
	started := custom.Text("prepare_exec") + " " + custom.Text("run_exec") + " " + custom.Text("config_exec")
	for _, known := range customs {
		if known.program.MatchString(started) {
			return known.from
		}
	}
	return nil
}

// customs are the set-ups of the custom executor, by the programs that it starts.
var customs = []struct {
	program *regexp.Regexp
	from    seed
}{
	{regexp.MustCompile(`\btart\b`), fromTart},
	{regexp.MustCompile(`\bnspawn\b`), fromNspawn},
	{regexp.MustCompile(`bhyve`), fromBhyveScript},
}

// plugin is the entry's, also where it stands one table too high.
func plugin(entry tomlfile.Table) string {
	if name := entry.Table("autoscaler").Text("plugin"); name != "" {
		return name
	}
	return entry.Text("plugin")
}

// line is one of the result, with the remark above it; either may be empty, but for the
// indent of the other.
type line struct{ remark, text string }

// added says why lines are there that were not.
const added = "added: "

// intervals and limits that every pool of this plugin wants.
var recommended = []struct{ key, text, why string }{
	{"capacity_per_instance", "capacity_per_instance = 1", "one job, one worker"},
	{"max_use_count", "max_use_count = 1", "a worker runs one job and is then destroyed"},
	{"delete_instances_on_shutdown", "delete_instances_on_shutdown = true", "which happens anyway"},
	{"update_interval", `update_interval = "5s"`, "the plugin cannot push, and the default is a minute"},
	{"update_interval_when_expecting", `update_interval_when_expecting = "250ms"`, "the default is two seconds"},
}

// pool is the tables that take the place of [runners.custom].
func pool(user string, workers int64, plugged []line) []line {
	lines := []line{
		{"in place of [runners.custom]", "[runners.autoscaler]"},
		{"", fmt.Sprintf("  plugin = %q", config.PluginName)},
		{"as many as jobs ran at once", fmt.Sprintf("  max_instances = %d", workers)},
	}
	for _, r := range recommended {
		lines = append(lines, line{r.why, "  " + r.text})
	}
	lines = append(lines,
		line{"the account that jobs log in to", "  [runners.autoscaler.connector_config]"},
		line{"", fmt.Sprintf("    username = %q", user)},
		line{"one worker waits for a job, as nothing did before", "  [[runners.autoscaler.policy]]"},
		line{"", "    idle_count = 1"},
		line{"", `    idle_time = "20m0s"`},
		line{"", "  [runners.autoscaler.plugin_config]"},
	)
	for _, l := range plugged {
		lines = append(lines, line{l.remark, "    " + l.text})
	}
	return lines
}

// jobImage is said of set-ups in which each job chose its image.
const jobImage = "a job's own `image:` chose the machine; here a pool has one image, and images by job are not " +
	"built yet: one [[runners]] entry with a pool and tags of its own for each image"
