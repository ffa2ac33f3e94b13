package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/lint"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// fleetingdNotes are what else differs, by our key.
var fleetingdNotes = map[string]string{
	"network.egress": "private networks are denied unless network.allow names them, and the host's resolvers are " +
		"asked, not 1.1.1.3 and 1.0.0.3 (network.dns)",
	"state_dir":      "what fleetingd has kept in its directory may be removed",
	"image.run":      "as the shell commands that cloud-init made of the entries",
	"network.subnet": "without the limit of 63 machines",
}

// fromFleetingd has the flat keys in our words, in their places, and mends what fleetingd's
// README has one table too high or misspelt.
func fromFleetingd(e *editor, entry tomlfile.Table) {
	scaler := entry.Table("autoscaler")
	ours := line{text: fmt.Sprintf("plugin = %q", config.PluginName)}
	e.replace(scaler.At("plugin"), ours)
	var moved []line
	for _, name := range lint.Misplaced(entry) {
		value := line{remark: "from [[runners]], where the runner does not look for it", text: e.text(entry.At(name))}
		if name == "plugin" {
			value.text = ours.text
		}
		if name == "instance_ready_command" {
			value = line{remark: "no instance_ready_command: a worker runs only when a login works"}
		}
		if !scaler.Has(name) {
			moved = append(moved, value)
		}
		e.replace(entry.At(name))
	}
	if command := scaler.Text("instance_ready_command"); strings.HasPrefix(command, "cloud-init status") {
		e.replace(scaler.At("instance_ready_command"), line{remark: "a worker runs only when a login works"})
	}
	for _, r := range recommended {
		if !scaler.Has(r.key) && !entry.Has(r.key) {
			moved = append(moved, line{added + r.why, r.text})
		}
	}
	e.insert(scaler.Path, moved...)
	for _, policy := range scaler.Tables("policy") {
		const misspelt = "preemtive_mode"
		if policy.Has(misspelt) {
			e.replace(policy.At(misspelt), line{
				"the runner ignores keys that it does not know",
				fmt.Sprintf("preemptive_mode = %t", policy.Flag(misspelt)),
			})
		}
	}
	e.workers += scaler.Number("max_instances", 1)
	flatKeys(e, scaler.Table("plugin_config"))
}

// flatKeys writes each of fleetingd's keys as one of ours, with the value that Parse
// makes of it.
func flatKeys(e *editor, plugged tomlfile.Table) {
	values := translated(plugged)
	if !plugged.Has("image") {
		e.insert(plugged.Path, line{added + "fleetingd's images are Ubuntu's; without it they are of the host's own " +
			"Debian or Ubuntu, and made faster", `image.source = "ubuntu:24.04"`})
	}
	for _, name := range slices.Sorted(maps.Keys(config.FlatKeys())) {
		nested := config.FlatKeys()[name]
		switch value, known := values[nested]; {
		case nested == "":
			e.replace(plugged.At(name), line{remark: "the console is always kept"})
		case known:
			if nested == "state_dir" && strings.HasPrefix(plugged.Text(name), "/tmp/") {
				value = quote(config.Default().StateDir) // where it lasts
			}
			e.replace(plugged.At(name), line{fleetingdNotes[nested], nested + " = " + value})
		}
	}
}

// translated are the values of our keys, as one writes them in TOML, that stand for a
// table's flat ones. Of a table with mistakes there are none: it stays as it is, and
// `config check` names them.
func translated(plugged tomlfile.Table) map[string]string {
	text, err := json.Marshal(plugged.Values)
	if err != nil {
		return nil
	}
	c, err := config.Parse(text)
	if err != nil {
		return nil
	}
	return map[string]string{
		"network.egress": quote(c.Network.Egress), "state_dir": quote(c.StateDir),
		"network.subnet": quote(c.Network.Subnet.String()), "machine.cpus": fmt.Sprint(c.Machine.CPUs),
		"machine.memory": size(c.Machine.Memory), "machine.disk": size(c.Machine.Disk), "image.run": list(c.Image.Run),
	}
}

// quote writes a string as TOML has it.
func quote(text string) string {
	if !strings.ContainsAny(text, `"\`) && !strings.ContainsFunc(text, unicode.IsControl) {
		return `"` + text + `"`
	}
	written, err := toml.Marshal(map[string]string{"v": text})
	if err != nil {
		return fmt.Sprintf("%q", text)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(written), "v = "))
}

// list writes a list of strings, each on a line of its own.
func list(texts []string) string {
	var out strings.Builder
	out.WriteString("[\n")
	for _, text := range texts {
		out.WriteString("        " + quote(text) + ",\n")
	}
	return out.String() + "      ]"
}

// size writes bytes, which are whole mebibytes.
func size(bytes int64) string {
	const mib, gib = 1 << 20, 1 << 30
	if bytes%gib == 0 {
		return fmt.Sprintf("%q", fmt.Sprint(bytes/gib, "GiB"))
	}
	return fmt.Sprintf("%q", fmt.Sprint(bytes/mib, "MiB"))
}
