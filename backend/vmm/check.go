//go:build linux

package vmm

import (
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Check looks for what every backend of virtual machines needs of this host:
// the tools that make disks, and images from such a kind of source, and a
// device for networks.
func Check(source string) []doctor.Finding {
	findings := []doctor.Finding{doctor.FindProgram("qemu-img")}
	if source == image.Debootstrap {
		findings = append(findings,
			doctor.FindProgram("mmdebstrap"),
			doctor.FindProgram("mkfs.ext4"))
	}
	return append(findings, checkTUN())
}

func checkTUN() doctor.Finding {
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return doctor.Finding{Level: doctor.Missing, What: "/dev/net/tun", Detail: err.Error(),
			Mend: "run as root, and load the module: modprobe tun"}
	}
	_ = device.Close()
	return doctor.Finding{Level: doctor.OK, What: "/dev/net/tun", Detail: "opens"}
}
