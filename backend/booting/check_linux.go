package booting

import (
	"os"
	"os/exec"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Check looks for what every backend of virtual machines needs of this host:
// the tools that make disks, and images from such a kind of source, and a
// device for networks.
func Check(source string) []backend.Finding {
	tools := map[string]string{"qemu-img": "qemu-utils"}
	if source == image.Debootstrap {
		tools["mmdebstrap"], tools["mkfs.ext4"] = "mmdebstrap", "e2fsprogs"
	}
	var findings []backend.Finding
	for _, tool := range []string{"qemu-img", "mmdebstrap", "mkfs.ext4"} {
		if pkg, needed := tools[tool]; needed {
			findings = append(findings, checkTool(tool, pkg))
		}
	}
	return append(findings, checkTUN())
}

func checkTool(tool, pkg string) backend.Finding {
	path, err := exec.LookPath(tool)
	if err != nil {
		return backend.Finding{Level: backend.Missing, What: tool, Detail: "not found in PATH", Mend: "apt-get install " + pkg}
	}
	return backend.Finding{Level: backend.OK, What: tool, Detail: path}
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
