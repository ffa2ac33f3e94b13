package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// BackendCloudHypervisor runs workers as Cloud Hypervisor virtual machines.
const BackendCloudHypervisor = "cloudhypervisor"

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

type rawCloudHypervisor struct {
	binary, diskBandwidth, networkBandwidth given[string]
	diskOperations                          given[int64]
}

func readCloudHypervisor(t *table) rawCloudHypervisor {
	return rawCloudHypervisor{
		binary:           t.text("binary", `"cloud-hypervisor"`),
		diskBandwidth:    t.text("disk_bandwidth", `"200MiB"`),
		diskOperations:   t.whole("disk_operations", `5000`),
		networkBandwidth: t.text("network_bandwidth", `"100MiB"`),
	}
}

func (r rawCloudHypervisor) parse(m *Errors, to *CloudHypervisor) {
	set(m, r.binary, &to.Binary, parseBinary)
	set(m, r.diskBandwidth, &to.DiskBandwidth, sizeFrom(mib))
	set(m, r.diskOperations, &to.DiskOperations, parseOperations)
	set(m, r.networkBandwidth, &to.NetworkBandwidth, sizeFrom(mib))
}

// parseBinary refuses what would depend on the directory that the runner
// happens to be in.
func parseBinary(path string) (string, error) {
	if path == "" || strings.Contains(path, "/") && !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is neither a name nor an absolute path: write for instance \"/usr/local/bin/cloud-hypervisor\"", path)
	}
	return path, nil
}

func parseOperations(n int64) (int64, error) {
	if n < 1 {
		return 0, fmt.Errorf("%d would let no disk work: write at least 1, or remove it for no limit", n)
	}
	return n, nil
}

// writtenCloudHypervisor is in the words of plugin_config.
type writtenCloudHypervisor struct {
	Binary           string `json:"binary"`
	DiskBandwidth    string `json:"disk_bandwidth,omitzero"`
	DiskOperations   int64  `json:"disk_operations,omitzero"`
	NetworkBandwidth string `json:"network_bandwidth,omitzero"`
}

func (c CloudHypervisor) written() writtenCloudHypervisor {
	w := writtenCloudHypervisor{Binary: c.Binary, DiskOperations: c.DiskOperations}
	if c.DiskBandwidth > 0 {
		w.DiskBandwidth = writeSize(c.DiskBandwidth)
	}
	if c.NetworkBandwidth > 0 {
		w.NetworkBandwidth = writeSize(c.NetworkBandwidth)
	}
	return w
}
