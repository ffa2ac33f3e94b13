package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// CloudHypervisor is what only that backend takes.
type CloudHypervisor struct {
	// Binary is a name that is found in PATH, or an absolute path.
	Binary string
	// The most that a worker may do in a second; 0 is no limit. The bandwidths
	// are in bytes, that of the network for each direction.
	DiskBandwidth    int64
	DiskOperations   int64
	NetworkBandwidth int64
}

func cloudHypervisorSection(c *Config) section {
	h := &c.CloudHypervisor
	return section{name: "cloud_hypervisor",
		about: `For the backend "cloudhypervisor" only. The limits hold for each worker and each second; there are
			none unless given.`,
		keys: []key{
			{name: "binary", value: text(&h.Binary, parseBinary), fallback: `"cloud-hypervisor"`,
				about: "its program: a name found in PATH, or an absolute path", refused: "empty; a relative path"},
			{name: "disk_bandwidth", value: diskBandwidth(&h.DiskBandwidth), example: `"200MiB"`,
				about: "bytes read and written, in place of `machine.disk_bandwidth`", refused: "below 1MiB"},
			{name: "disk_operations", value: diskOperations(&h.DiskOperations), example: `5000`,
				about: "reads and writes, in place of `machine.disk_operations`", refused: "below 1"},
			{name: "network_bandwidth", value: size(&h.NetworkBandwidth, mib), example: `"100MiB"`,
				about: "bytes in each direction, of the machine's own device; `network.bandwidth` serves every " +
					"backend",
				refused: "below 1MiB"},
		},
	}
}

// parseBinary refuses what would depend on the directory that the runner
// happens to be in.
func parseBinary(path string) (string, error) {
	if path == "" || strings.Contains(path, "/") && !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is neither a name nor an absolute path: "+
			"write for instance \"/usr/local/bin/cloud-hypervisor\"", path)
	}
	return path, nil
}
