package config

import (
	"maps"
	"slices"
)

// preset is what an image gets by one word: packages and commands that come before
// those of image.packages, image.run and fork.warm.
type preset struct {
	// Packages must be in every supported release of Debian and Ubuntu.
	Packages []string
	// Run are commands of the prebuild.
	Run []string
	// Warm are commands that make workers warm; each of them returns when what it
	// started can be used.
	Warm []string
}

// presets by the word in the configuration. What a preset stands for is in the recipe,
// so a change of this table makes another image, and another template.
var presets = map[string]preset{
	"docker": {
		Packages: []string{"docker.io", "apparmor", "iptables"},
		Run:      []string{installDockerTools},
		Warm:     []string{startDocker},
	},
}

// installDockerTools installs what only newer releases have as packages of their own.
const installDockerTools = `set -e; for tool in docker-cli docker-buildx; do
if [ -n "$(apt-cache search --names-only "^$tool\$")" ]; then apt-get install -y --no-install-recommends $tool; fi
done`

// startDocker returns when dockerd answers, which is later than the start of its
// service. It loads what the first container needs, and reads it into memory.
const startDocker = `systemctl start docker.service || { journalctl --no-pager -n 20 -u docker.service; exit 1; }
tries=0; until docker info >/dev/null 2>&1; do tries=$((tries+1))
if [ $tries -ge 300 ]; then docker info; exit 1; fi; sleep 1; done
modprobe -qa overlay veth br_netfilter
for tool in docker runc docker-init docker-proxy containerd-shim-runc-v2; do
cat "$(command -v $tool)"; done >/dev/null 2>&1; true`

// presetNames are the words that there are.
func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// preset is the one that the image has; without one, it is empty.
func (c Config) preset() preset { return presets[c.Image.Preset] }

// packages are those of the preset, and then those of image.packages. A list that was
// given is not nil, even when it is empty.
func (c Config) packages() []string {
	if len(c.preset().Packages) == 0 {
		return c.Image.Packages
	}
	return slices.Concat(c.preset().Packages, c.Image.Packages)
}
