package migrate

import (
	"bufio"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// scriptedGuest is what a script for vm-bhyve did for each job, in our words.
func scriptedGuest(guest string) []line {
	return []line{
		{"", fmt.Sprintf("backend = %q", config.BackendBhyve)},
		{"", `state_dir = "/var/db/mayfly"`},
		{"was: vm clone " + guest + "@runner for each job; the snapshot must be there", fmt.Sprintf(
			"image.source = %q", "vm:"+guest+"@runner")},
		{"was: sshpass. CHANGE both to what the guest has; workers have keys of their own", `bhyve.user = "freebsd"`},
		{"", `bhyve.password = "CHANGE-ME"`},
		{"was: Kea's file of leases", `bhyve.leases = "kea"`},
		{remark: "a runner that is not root needs bhyve.sudo, and the rules that `doctor` prints in place of " +
			"`vm destroy *`"},
	}
}

// fromBhyveScript is a config.toml whose custom executor is a script for vm-bhyve.
func fromBhyveScript(e *editor, entry tomlfile.Table) {
	choose := line{remark: "CHOOSE the guest \"base\": the one that most jobs named"}
	plugged := append([]line{choose}, scriptedGuest("base")...)
	inPlaceOfCustom(e, entry, "freebsd", e.atOnce(entry), plugged)
}

var (
	assignment = regexp.MustCompile(`^([a-z][a-z0-9_]*)=(?:"([^"]*)"|'([^']*)'|([^\s#]*))`)
	guestName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// ofGuest makes a config.toml of the configuration of a guest of vm-bhyve, from which a
// script cloned a machine for each job. The name is the guest's.
func ofGuest(name, text string) (string, error) {
	if !guestName.MatchString(name) {
		return "", fmt.Errorf("%q is not a valid name of a guest: give the file the guest's name, "+
			"for instance base.conf", name)
	}
	var plugged []line
	known := false
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		match := assignment.FindStringSubmatch(lines.Text())
		if match == nil { // a comment, or what vm-bhyve passes over as well
			if written := strings.TrimSpace(lines.Text()); written != "" {
				plugged = append(plugged, line{remark: "was: " + written})
			}
			continue
		}
		known = known || match[1] == "loader"
		plugged = append(plugged, guestSetting(match[1], match[2]+match[3]+match[4], strings.TrimSpace(lines.Text())))
	}
	if !known {
		return "", errors.New("no configuration of a guest of vm-bhyve, which has a loader")
	}
	plugged = append(scriptedGuest(name), plugged...)
	entry := []line{
		{"CHANGE url and token, or put this entry into the config.toml that has them", "[[runners]]"},
		{"", fmt.Sprintf("  name = %q", name)},
		{"", `  url = "https://gitlab.example.com"`},
		{"", `  token = "glrt-REPLACE-ME"`},
		{"was: custom", `  executor = "instance"`},
		{remark: jobImage},
	}
	const workers = 4
	top := line{"from the configuration of vm-bhyve's guest " + name, fmt.Sprint("concurrent = ", workers)}
	out := write("", []line{top})
	out = append(append(out, ""), write("", entry)...)
	out = append(append(out, ""), write("  ", pool("freebsd", workers, plugged))...)
	return strings.Join(out, "\n") + "\n", nil
}

var (
	number  = regexp.MustCompile(`^[0-9]{1,3}$`)
	inBytes = regexp.MustCompile(`^([0-9]{1,6})([MmGg])$`)
)

// guestSetting is what stands for a setting of a guest, all of whose clones have it.
func guestSetting(key, value, written string) line {
	remark := "was: " + written
	unit := inBytes.FindStringSubmatch(value)
	switch {
	case key == "cpu" && number.MatchString(value):
		return line{remark, "machine.cpus = " + value}
	case key == "memory" && unit != nil:
		return line{remark, fmt.Sprintf("machine.memory = %q", unit[1]+strings.ToUpper(unit[2])+"iB")}
	case key == "uuid" || strings.HasSuffix(key, "_mac"):
		return line{remark: remark + ": each worker has one of its own"}
	case key == "on_restart":
		return line{remark: remark + `: workers have "shutdown"`}
	}
	return line{remark: remark + ": nothing to write, for workers are clones of the guest"}
}
