package host

import (
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
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
func checkRoom(c config.Config, b backend.Backend) (findings []doctor.Finding) {
	total, err := hostmemory.Total()
	if err != nil {
		return findings
	}
	share, err := budgetOf(c)
	if err != nil {
		return findings
	}
	if held, err := share.Held(); err == nil {
		finding := checkBudget(limitsOf(c, total), costOf(c, b), c.Host.MaxWorkers, held)
		findings = append(findings, finding)
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

// checkSpace says whether the disk has room for images and workers. Free, and
// freeable, which is what could be removed, are in bytes.
func checkSpace(dir string, free, freeable int64) doctor.Finding {
	finding := doctor.Finding{
		Level: doctor.OK, What: "disk space", Detail: fmt.Sprintf("%.1f GiB are free where %s is", inGiB(free), dir),
	}
	if freeable > 0 {
		finding.Detail += fmt.Sprintf("; %.1f GiB more could be freed of what nobody uses, "+
			"which happens by itself below host.reserve_disk", inGiB(freeable))
	}
	if free < leastFree {
		finding.Level = doctor.Warning
		finding.Mend = fmt.Sprintf("make room for %d GiB and what your jobs write, "+
			"or set plugin_config.state_dir to a larger disk", leastFree/gib)
	}
	return finding
}

func inGiB(bytes int64) float64 { return float64(bytes) / gib }
