//go:build linux

package draft

import (
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Names on the seed volume.
const (
	agentFile  = "agent"
	runnerFile = "gitlab-runner"
)

// startAgent installs the agent in the image and starts it in a unit of its own:
// the agent waits for the end of cloud-init, so it must not be a part of it.
const startAgent = `set -e
mkdir -p /run/mayfly-seed
mount -o ro "$(blkid -L cidata || blkid -L CIDATA)" /run/mayfly-seed
install -D -m 0755 /run/mayfly-seed/` + agentFile + ` ` + guest.AgentPath + `
if [ -e /run/mayfly-seed/` + runnerFile + ` ]; then install -m 0755 /run/mayfly-seed/` + runnerFile + ` ` + runnerPath + `; fi
umount /run/mayfly-seed
systemd-run --unit=mayfly-prebuild --collect ` + guest.AgentPath + ` guest`

// needed is what the instance executor calls on a worker; a root file system
// made from packages has it already.
var needed = []string{"bash", "git", "curl", "ca-certificates", "sudo", "openssh-server"}

// userData is what the first boot does.
func userData(recipe image.Recipe) cloudinit.UserData {
	data := cloudinit.UserData{
		PreserveHostname: true,
		RunCmd:           [][]string{{"sh", "-c", startAgent}},
	}
	if recipe.User != "root" {
		data.Users = []cloudinit.User{{
			Name: recipe.User, Sudo: "ALL=(ALL) NOPASSWD:ALL", Shell: "/bin/bash", LockPasswd: true,
		}}
	}
	if recipe.Source.Kind == image.Debootstrap && recipe.UserData == "" {
		// Of cloud-init's modules only those run that this prebuild needs. A root
		// file system made from packages has its package sources and its disk at
		// full size already, and host keys are made for each worker by the host.
		// The rest would only cost time, by emulation a minute.
		data.InitModules = []string{"users-groups"}
		data.ConfigModules = []string{"runcmd"}
		data.FinalModules = []string{"scripts-user"}
		return data
	}
	if recipe.Source.Kind == image.Debootstrap { // with user-data of the user's own, any module may be needed
		data.Apt = &cloudinit.Apt{PreserveSourcesList: true}
		return data
	}
	if recipe.Proxy != "" {
		data.BootCmd = [][]string{{"sh", "-c", image.UseProxy, "sh", recipe.Proxy, recipe.WithoutProxy()}}
	}
	if len(recipe.Certificates) > 0 {
		data.CACerts = &cloudinit.CACerts{Trusted: recipe.Certificates}
	}
	data.PackageUpdate, data.PackageUpgrade = true, true
	data.Packages = append(append([]string{}, needed...), recipe.Packages...)
	if recipe.Kernel != "" {
		data.Packages = append(data.Packages, recipe.Kernel)
	}
	return data
}
