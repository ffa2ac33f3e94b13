package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// flatKey is a key of the fleetingd plugin, at its own meaning, for which a
// nested one of ours stands: users of fleetingd change one line.
type flatKey struct {
	name, nested, example string
	translation
}

// translation is a way from a flat key's value to a nested one's.
type translation struct {
	schema schema
	// read gives the value that the nested key would have, nil for a wrong one,
	// and whether there is anything of the right type.
	read func(m *Errors, g given, example string) (any, bool)
}

var flatKeys = []flatKey{
	{"egress_interface", "network.egress", `"eth0"`, translated(aString, asWritten)},
	{"vm_disk_directory", "state_dir", `"/var/lib/mayfly"`, translated(aString, asWritten)},
	{"vm_subnet", "network.subnet", `"172.16.120."`, translated(aString, fromTextPrefix)},
	{"vm_num_cpu_cores", "machine.cpus", `2`, translated(aWhole, asWritten)},
	{"vm_memory_mb", "machine.memory", `2048`, translated(aWhole, inUnits("MiB"))},
	{"vm_disk_size_gb", "machine.disk", `10`, translated(aWhole, inUnits("GiB"))},
	{"vm_prebuild_cloudinit_extra_cmds", "image.run", `["apt-get install -y git"]`,
		translation{aList.schema, fromRunCommands}},
	// The console is always kept here: the key is accepted and decides nothing.
	{"vm_enable_virtio_console", "", `true`, translated(aFlag, asWritten)},
}

// replace puts the value of a flat key in the place of its nested counterpart.
// Both together are a mistake even when equal: soon only one would be edited.
func (r *reading) replace(flat flatKey, g given) {
	value, ok := flat.read(&r.Errors, g, flat.example)
	switch {
	case !ok || flat.nested == "":
	case r.gave(flat.nested):
		r.add(g.path, "contradicts %s, its other name: remove one of the two", r.path(flat.nested))
	default:
		r.given[flat.nested] = given{g.path, value}
	}
}

func translated[F any](f form[F], translate func(F) (any, error)) translation {
	return translation{f.schema, func(m *Errors, g given, example string) (any, bool) {
		written, ok := f.of(m, g, example)
		if !ok {
			return nil, false
		}
		value, err := translate(written)
		if err != nil {
			m.add(g.path, "%v", err)
		}
		return value, true
	}}
}

func asWritten[T any](value T) (any, error) { return value, nil }

func inUnits(unit string) func(int64) (any, error) {
	return func(n int64) (any, error) { return fmt.Sprint(n, unit), nil }
}

// fromTextPrefix makes a /24 of the text that its addresses begin with.
func fromTextPrefix(text string) (any, error) {
	subnet, err := netip.ParsePrefix(text + "0/24")
	if err != nil || !strings.HasSuffix(text, ".") {
		return nil, fmt.Errorf("%q is not the first three numbers of an address: "+
			"write for instance \"172.16.120.\", or network.subnet in CIDR notation", text)
	}
	return subnet.String(), nil
}

func fromRunCommands(m *Errors, g given, example string) (any, bool) {
	entries, ok := readTexts(m, g, example)
	commands := make([]any, len(entries))
	for i, entry := range entries {
		commands[i] = fromRunCommand(entry)
	}
	return commands, ok
}

// fromRunCommand gives the command that cloud-init ran for an entry: fleetingd
// pasted each into a YAML list, so quotes around an entry are YAML's. Any other
// entry is meant for the shell as it stands: YAML would only fold its lines and
// cut off at a # that the shell might have seen inside quotes.
func fromRunCommand(entry string) string {
	switch node := listElement(entry); {
	case node == nil:
		return entry
	case node.Kind == yaml.ScalarNode && node.Style != 0 && node.Tag == "!!str": // in quotes, or after | or >
		return node.Value
	case isArguments(node):
		return shellCommand(node.Content)
	default:
		return entry
	}
}

// listElement is what YAML makes of an entry pasted into a list, or nil when
// that is not one element. Parsed alone, an entry such as `"a" b` would end
// after its first word without an error.
func listElement(entry string) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte("- "+entry), &document); err != nil || len(document.Content) != 1 {
		return nil
	}
	if list := document.Content[0]; list.Kind == yaml.SequenceNode && len(list.Content) == 1 {
		return list.Content[0]
	}
	return nil
}

// isArguments tells whether cloud-init would run the list without a shell.
func isArguments(node *yaml.Node) bool {
	isOther := func(element *yaml.Node) bool { return element.Kind != yaml.ScalarNode }
	return node.Kind == yaml.SequenceNode && len(node.Content) > 0 && !slices.ContainsFunc(node.Content, isOther)
}

// shellCommand quotes each argument, so that the shell takes it as it is.
func shellCommand(arguments []*yaml.Node) string {
	words := make([]string, len(arguments))
	for i, argument := range arguments {
		words[i] = "'" + strings.ReplaceAll(argument.Value, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// FlatKeys are the names of fleetingd's keys, with those of ours that stand for them;
// empty for one that decides nothing here.
func FlatKeys() map[string]string {
	all := make(map[string]string)
	for _, flat := range flatKeys {
		all[flat.name] = flat.nested
	}
	return all
}
