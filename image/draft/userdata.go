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

// runnerMark is a file that has the time of gitlab-runner as it was installed: one that
// a step has put there, or taken away, stays as the step has left it.
const runnerMark = "/usr/local/lib/mayfly/gitlab-runner.installed"

// installAgent is a script that installs the agent, and gitlab-runner, from the seed
// volume: at the first boot, and whenever a build goes on from a layer.
const installAgent = `set -e
mkdir -p /run/mayfly-seed
mount -o ro "$(blkid -L cidata || blkid -L CIDATA)" /run/mayfly-seed
install -D -m 0755 /run/mayfly-seed/` + agentFile + ` ` + guest.AgentPath + `
there=` + runnerPath + ` mark=` + runnerMark + `
if [ -e /run/mayfly-seed/` + runnerFile + ` ] && { [ ! -e $mark ] ||
  [ -e $there ] && [ ! $there -nt $mark ] && [ ! $there -ot $mark ]; }; then
  install -m 0755 /run/mayfly-seed/` + runnerFile + ` $there
  touch -r $there $mark
fi
umount /run/mayfly-seed`

// buildUnit has the agent of a build start when the disk boots again, at the same point
// of the boot as at the first.
const buildUnit = `[Unit]
Description=Mayfly: the agent of the image that is being built
After=multi-user.target

[Service]
ExecStartPre=/bin/sh /` + guest.BuildScriptPath + `
ExecStart=` + guest.AgentPath + ` guest`

// startAgent installs the agent in the image and starts it in a unit of its own:
// the agent waits for the end of cloud-init, so it must not be a part of it. Later
// boots are without cloud-init, which has done its work.
const startAgent = `set -e
mkdir -p /usr/local/lib/mayfly /` + unitLinks + `
cat >/` + guest.BuildScriptPath + ` <<'END'
` + installAgent + `
END
sh /` + guest.BuildScriptPath + `
systemd-run --unit=mayfly-build --collect ` + guest.AgentPath + ` guest
cat >/` + guest.BuildUnit + ` <<'END'
` + buildUnit + `
END
ln -sf ../mayfly-build.service /` + guest.BuildUnitLink + `
echo 'set up by mayfly' >/etc/cloud/cloud-init.disabled`

// unitLinks is the directory of guest.BuildUnitLink.
const unitLinks = "etc/systemd/system/multi-user.target.wants"

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
