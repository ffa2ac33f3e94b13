package booting

import (
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Check looks for what every backend of virtual machines needs of this host:
// the tools that make disks, and images from such a kind of source, and a
// device for networks.
func Check(source string) []backend.Finding {
	findings := []backend.Finding{backend.FindProgram("qemu-img", "apt-get install qemu-utils")}
	if source == image.Debootstrap {
		findings = append(findings,
			backend.FindProgram("mmdebstrap", "apt-get install mmdebstrap"),
			backend.FindProgram("mkfs.ext4", "apt-get install e2fsprogs"))
	}
	return append(findings, checkTUN())
}

func checkTUN() backend.Finding {
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return backend.Finding{Level: backend.Missing, What: "/dev/net/tun", Detail: err.Error(),
			Mend: "run as root, and load the module: modprobe tun"}
	}
	_ = device.Close()
	return backend.Finding{Level: backend.OK, What: "/dev/net/tun", Detail: "opens"}
}
