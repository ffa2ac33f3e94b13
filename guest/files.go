package guest

import "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"

// AgentPath is where an image has the agent, which its systemd unit starts.
const AgentPath = "/usr/local/lib/mayfly/agent"

// What starts the agent of a build when a disk boots again before it is sealed: a unit
// and its link, and the script that the unit runs before, which installs the agent.
// All are relative to the guest's root, and sealing removes them.
const (
	BuildUnit       = "etc/systemd/system/mayfly-build.service"
	BuildUnitLink   = "etc/systemd/system/multi-user.target.wants/mayfly-build.service"
	BuildScriptPath = "usr/local/lib/mayfly/build"
)

// HostKeyPath is where a guest keeps its SSH host key, relative to its root; the
// public half is beside it, with .pub after its name.
const HostKeyPath = "etc/ssh/ssh_host_ed25519_key"

// HostsFile is the text of a guest's hosts file. The guest's own name is in it:
// without that every sudo would ask a name server, which does not know the name.
func HostsFile(name string) string {
	return "127.0.0.1 localhost\n127.0.1.1 " + name + "\n::1 localhost ip6-localhost ip6-loopback\n"
}

// ResolverFile is the text of a guest's resolv.conf.
func ResolverFile() string { return "nameserver " + network.Gateway.String() + "\n" }
