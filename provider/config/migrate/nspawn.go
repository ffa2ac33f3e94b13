package migrate

import (
	"fmt"
	"regexp"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// releases are names that nspawn-runner's users give to images of Debian's and Ubuntu's
// releases. What another one is of, only its playbook says.
var releases = regexp.MustCompile(`^(unstable|sid|testing|stable|bullseye|bookworm|trixie|forky|jammy|noble)$`)

// fromNspawn is nspawn-runner, whose images are made of playbooks of Ansible.
func fromNspawn(e *editor, entry tomlfile.Table) {
	plugged := []line{
		{"containers share the host's kernel; \"qemu\" makes virtual machines",
			fmt.Sprintf("backend = %q", config.BackendNspawn)},
		{"as its images had them", `image.packages = ["dbus", "python3"]`},
		{"was: 40 % of the host's memory and no limit of processors, for each: write what a job needs",
			`machine.memory = "2GiB"`},
		{remark: "workers have a network of their own, where nspawn-runner's were on the host's; private networks " +
			"are denied unless network.allow names them"},
	}
	image := "NAME"
	for _, o := range options(entry.Table("custom").Texts("prepare_args")) {
		switch o.name {
		case "--default-image":
			image = o.value
			if releases.MatchString(image) {
				plugged = append(plugged, line{"was: --default-image " + image, fmt.Sprintf("image.suite = %q", image)})
			}
		case "-v", "--verbose", "--debug":
		default:
			plugged = append(plugged, unknownOption(o))
		}
	}
	plugged = append(plugged, line{remark: "NOT READ: what /etc/nspawn-runner/" + image + ".yaml installs belongs " +
		"into image.packages and image.run, and its nspawn_runner_chroot_suite into image.suite"})
	inPlaceOfCustom(e, entry, "mayfly", e.atOnce(entry), plugged)
}
