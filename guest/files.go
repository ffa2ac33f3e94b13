package guest

import (
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// AgentPath is where an image has the agent, which its systemd unit starts.
const AgentPath = "/usr/local/lib/mayfly/agent"

// What starts the agent of a build when a disk boots again: a unit and its link, and the
// script that the unit runs before, which installs the agent. All are relative to the
// guest's root. Sealing removes the link: a sealed disk starts the unit only when the
// kernel's arguments are BuildArguments.
const (
	BuildUnit       = "etc/systemd/system/" + buildUnitName
	BuildUnitLink   = "etc/systemd/system/multi-user.target.wants/" + buildUnitName
	BuildScriptPath = "usr/local/lib/mayfly/build"
)

const buildUnitName = "mayfly-build.service"

// AgentUnit starts the agent of a worker, at each boot of a sealed disk.
const AgentUnit = "mayfly-agent.service"

// BuildArguments have systemd start the agent of a build in place of that of a worker; see
// kernel-command-line(7).
var BuildArguments = []string{"systemd.wants=" + buildUnitName, "systemd.mask=" + AgentUnit}

// HostKeyPath is where a guest keeps its SSH host key, relative to its root; the
// public half is beside it, with .pub after its name.
const HostKeyPath = "etc/ssh/ssh_host_ed25519_key"

// HostsPath is where a guest keeps its hosts file, relative to its root.
const HostsPath = "etc/hosts"

// ours ends each line of a hosts file that is ours and not the image's, so that the
// next identity replaces it.
const ours = " # mayfly"

// HostsFile is the text of the hosts file of a guest with this name: what is there
// now, and before it what every guest needs and is missing. The guest's own name is
// in it: without that every sudo would ask a name server, which does not know the name.
func HostsFile(now, name string) string {
	var kept strings.Builder
	has := map[string][]string{}
	for line := range strings.Lines(now) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(line, ours) {
			continue
		}
		kept.WriteString(line + "\n")
		entry, _, _ := strings.Cut(line, "#")
		if fields := strings.Fields(entry); len(fields) > 0 {
			has[fields[0]] = append(has[fields[0]], fields[1:]...)
		}
	}
	var needed strings.Builder
	for _, entry := range []string{
		"127.0.0.1 localhost", "127.0.1.1 " + name, "::1 localhost ip6-localhost ip6-loopback",
	} {
		fields := strings.Fields(entry)
		// A name that is there twice would have some servers listen on it twice.
		missing := slices.DeleteFunc(fields[1:], func(name string) bool {
			return slices.Contains(has[fields[0]], name)
		})
		if len(missing) > 0 {
			needed.WriteString(fields[0] + " " + strings.Join(missing, " ") + ours + "\n")
		}
	}
	return needed.String() + kept.String()
}

// ResolverPath is where a guest is told who answers its questions for names, relative to
// its root. Where it is a link, the guest has a resolver of its own, which is told by
// ResolvedPath.
const (
	ResolverPath = "etc/resolv.conf"
	ResolvedPath = "etc/systemd/resolved.conf.d/mayfly.conf"
)

// ResolverFile is the text of a guest's resolv.conf, with the domains of its link.
func ResolverFile(search string) string {
	text := "nameserver " + network.Gateway.String() + "\n"
	if search != "" {
		text += "search " + search + "\n"
	}
	return text
}

// ResolvedFile is the same for systemd-resolved, which was told the server when the
// image was made.
func ResolvedFile(search string) string { return "[Resolve]\nDomains=" + search + "\n" }
