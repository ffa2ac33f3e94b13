package migrate

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// tartKeys are the executor's options, and its variables without their prefixes, that
// one key of ours stands for, with N for the value where it is a number, and "S" for
// any other.
var tartKeys = map[string]string{
	"--default-image":    `image.source = "S"`,
	"--cpu":              "machine.cpus = N",
	"--memory":           `machine.memory = "NMiB"`,
	"--concurrency":      "host.max_workers = N",
	"--pull-concurrency": "tart.concurrency = N",
	"--insecure-pull":    "tart.insecure = true",
	"--nested":           "tart.nested = true",
	"--dir":              `tart.dirs = ["S"]`,
	"--disk":             `tart.disks = ["S"]`,
	"--root-disk-opts":   `tart.root_disk = "S"`,
	"SSH_USERNAME":       `tart.user = "S"`,
	"SSH_PASSWORD":       `tart.password = "S"`,
}

// fromTart is the Tart executor, whose settings are arguments of its stages and
// variables of the entry; jobs may have had more of these.
func fromTart(e *editor, entry tomlfile.Table) {
	custom := entry.Table("custom")
	set := append(options(custom.Texts("prepare_args")), environment(entry, "TART_EXECUTOR_", "CIRRUS_GTE_")...)
	user, workers, named := "admin", e.atOnce(entry), false
	plugged := []line{
		{"", `backend = "tart"`},
		{"Tart's machines are in a directory of the plugin's own", `state_dir = "/Users/Shared/mayfly"`},
	}
	for _, o := range set {
		plugged = append(plugged, tartSetting(o)...)
		named = named || o.name == "--default-image"
		if o.name == "SSH_USERNAME" {
			user = o.value
		}
		if n, err := strconv.ParseInt(o.value, 10, 64); o.name == "--concurrency" && err == nil {
			workers = min(workers, n)
		}
	}
	if !named {
		plugged = append(plugged, line{"CHOOSE: the image that most jobs named",
			`image.source = "oci:registry.example.org/macos/base:latest"`})
	}
	for _, o := range options(custom.Texts("config_args")) {
		plugged = append(plugged, unknownOption(o))
	}
	inPlaceOfCustom(e, entry, user, workers, plugged)
}

// tartSetting is what stands for an option or a variable.
func tartSetting(o option) []line {
	remark := "was: " + o.name + " " + o.value
	switch {
	case o.name == "--cpu" && o.value == "auto":
		return []line{{remark, `tart.cpu = "auto"`}}
	case o.name == "--memory" && o.value == "auto":
		return []line{{remark, `tart.memory = "auto"`}}
	case o.name == "ALWAYS_PULL" && o.value == "false":
		return []line{{remark, `tart.pull = "missing"`}}
	case o.name == "ALWAYS_PULL":
		return []line{{remark, `tart.pull = "always"`}}
	case o.name == "SOFTNET" && o.value == "true":
		return []line{{remark, `tart.network = "softnet"`}}
	case o.name == "BRIDGED" && o.value != "":
		return []line{{remark, `tart.network = "bridged"`}, {"", fmt.Sprintf("tart.bridged = [%q]", o.value)}}
	case o.name == "RANDOM_MAC", o.name == "HEADLESS" && cmp.Or(o.value, "true") == "true":
		return []line{{remark + ", as all workers have it", ""}}
	}
	key, value := tartKeys[o.name], o.value
	if o.name == "--default-image" {
		value = "oci:" + value
	}
	if _, err := strconv.Atoi(value); key == "" || strings.Contains(key, "N") && err != nil {
		return []line{unknownOption(o)}
	}
	return []line{{remark, strings.NewReplacer("N", value, `"S"`, quote(value)).Replace(key)}}
}

func unknownOption(o option) line {
	return line{remark: "NO EQUIVALENT: " + o.name + " " + o.value}
}
