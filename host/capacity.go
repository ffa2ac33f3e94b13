package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/hostmemory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const gib = 1 << 30

// leastFree is the disk space below which a build is likely to fail: an image
// of the default packages takes some 0.6 GiB, and as much again while it is made.
const leastFree = 4 * gib

// checkRoom looks at what workers take of the host. What the host does not tell
// is left out.
func checkRoom(c config.Config) (findings []doctor.Finding) {
	if free, err := freeSpace(c.StateDir); err == nil {
		findings = append(findings, checkSpace(c.StateDir, free))
	}
	if total, err := hostmemory.Total(); err == nil {
		findings = append(findings, checkMemory(c, total))
	}
	return findings
}

// checkAddresses says how many workers there can be at once. That there are not
// more than addresses, the configuration's parser has seen to.
func checkAddresses(c config.Config) doctor.Finding {
	return doctor.Finding{Level: doctor.OK, What: "workers", Detail: fmt.Sprintf(
		"%d at once at most: network.subnet %s holds %d, beside what they are made from, "+
			"if no other pool takes addresses of it",
		c.MaxWorkers(), c.Network.Subnet, c.Capacity())}
}

// checkSpace says whether the disk has room for images and workers. Free is in
// bytes.
func checkSpace(dir string, free int64) doctor.Finding {
	finding := doctor.Finding{
		Level: doctor.OK, What: "disk space", Detail: fmt.Sprintf("%.1f GiB are free where %s is", inGiB(free), dir),
	}
	if free < leastFree {
		finding.Level = doctor.Warning
		finding.Mend = fmt.Sprintf("make room for %d GiB and what your jobs write, "+
			"or set plugin_config.state_dir to a larger disk", leastFree/gib)
	}
	return finding
}

// checkMemory says how many machines the host's memory holds that use all of
// theirs. Total is in bytes.
func checkMemory(c config.Config, total int64) doctor.Finding {
	machines := total / c.Machine.Memory
	finding := doctor.Finding{Level: doctor.OK, What: "memory", Detail: fmt.Sprintf(
		"the host's %.1f GiB hold %d machines that use all of their %.1f GiB",
		inGiB(total), machines, inGiB(c.Machine.Memory))}
	switch {
	case machines < 1:
		finding.Level, finding.Mend = doctor.Warning, "set plugin_config.machine.memory to less"
	case int64(c.Host.MaxWorkers) > machines:
		finding.Level = doctor.Warning
		finding.Mend = fmt.Sprintf("set plugin_config.host.max_workers (%d) or machine.memory to less, "+
			"unless jobs use only a part of it", c.Host.MaxWorkers)
	}
	return finding
}

func inGiB(bytes int64) float64 { return float64(bytes) / gib }

// freeSpace is what is left for users of the file system that a directory is on,
// or would be, in bytes.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		return freeSpace(parent)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the space that is free at %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
