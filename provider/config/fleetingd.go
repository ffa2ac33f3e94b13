package config

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFleetingd takes the keys of the fleetingd plugin at their own meaning
// into the places of ours, so that its users change one line.
func readFleetingd(t *table, r *raw) {
	replace(t, &r.network.egress, t.text("egress_interface", `"eth0"`), asWritten)
	replace(t, &r.stateDir, t.text("vm_disk_directory", `"/var/lib/mayfly"`), asWritten)
	replace(t, &r.network.subnet, t.text("vm_subnet", `"172.16.120."`), fromTextPrefix)
	replace(t, &r.machine.cpus, t.whole("vm_num_cpu_cores", `2`), asWritten)
	replace(t, &r.machine.memory, t.whole("vm_memory_mb", `2048`), inUnits("MiB"))
	replace(t, &r.machine.disk, t.whole("vm_disk_size_gb", `10`), inUnits("GiB"))
	replace(t, &r.image.run,
		t.texts("vm_prebuild_cloudinit_extra_cmds", `["apt-get install -y git"]`), fromRunCommands)
	// The console is always kept here: the key is accepted and decides nothing.
	t.flag("vm_enable_virtio_console", `true`)
}

// replace puts the value of a flat key in the place of its nested counterpart.
// Both together are a mistake even when equal: soon only one would be edited.
func replace[F, T any](t *table, place *given[T], flat given[F], translate func(F) (T, error)) {
	if !flat.set {
		return
	}
	if place.set {
		t.mistakes.add(flat.path, "contradicts %s, its other name: remove one of the two", place.path)
		return
	}
	*place = given[T]{path: flat.path}
	value, err := translate(flat.value)
	if err != nil {
		t.mistakes.add(flat.path, "%v", err)
		return
	}
	place.value, place.set = value, true
}

func asWritten[T any](value T) (T, error) { return value, nil }

func inUnits(unit string) func(int64) (string, error) {
	return func(n int64) (string, error) { return fmt.Sprint(n, unit), nil }
}

// fromTextPrefix makes a /24 of the text that its addresses begin with.
func fromTextPrefix(text string) (string, error) {
	subnet, err := netip.ParsePrefix(text + "0/24")
	if err != nil || !strings.HasSuffix(text, ".") {
		return "", fmt.Errorf("%q is not the first three numbers of an address: write for instance \"172.16.120.\", "+
			"or network.subnet in CIDR notation", text)
	}
	return subnet.String(), nil
}

func fromRunCommands(entries []string) ([]string, error) {
	commands := make([]string, len(entries))
	for i, entry := range entries {
		commands[i] = fromRunCommand(entry)
	}
	return commands, nil
}

// fromRunCommand gives the command that cloud-init ran for an entry: fleetingd
// pasted each into a YAML list, so quotes around an entry are YAML's. Any other
// entry is meant for the shell as it stands: YAML would only fold its lines and
// cut off at a # that the shell might have seen inside quotes.
func fromRunCommand(entry string) string {
	switch node := listElement(entry); {
	case node == nil:
		return entry
	case isQuoted(node) && node.Tag == "!!str":
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

func isScalar(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode }

// isQuoted tells a scalar in quotes, or after | or >, from bare words.
func isQuoted(node *yaml.Node) bool { return isScalar(node) && node.Style != 0 }

// isArguments tells whether cloud-init would run the list without a shell.
func isArguments(node *yaml.Node) bool {
	if node.Kind != yaml.SequenceNode || len(node.Content) == 0 {
		return false
	}
	for _, element := range node.Content {
		if !isScalar(element) {
			return false
		}
	}
	return true
}

// shellCommand quotes each argument, so that the shell takes it as it is.
func shellCommand(arguments []*yaml.Node) string {
	words := make([]string, len(arguments))
	for i, argument := range arguments {
		words[i] = "'" + strings.ReplaceAll(argument.Value, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}
