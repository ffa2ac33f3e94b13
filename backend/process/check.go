//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// CheckGroups says what this host's control groups can limit.
func CheckGroups() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "control groups"}
	hierarchies, err := cgroup.Hierarchies()
	switch {
	case err != nil:
		finding.Level, finding.Detail, finding.Mend = doctor.Missing, err.Error(), "mount /proc"
		return finding
	case len(hierarchies) == 0:
		finding.Level = doctor.Missing
		finding.Detail = "none are mounted for writing, and without one a worker is not limited, nor ended for sure"
		finding.Mend = "mount -t cgroup2 none /sys/fs/cgroup"
		return finding
	}
	if lacking := cgroup.Lacking(hierarchies); len(lacking) > 0 {
		finding.Level, finding.Detail = doctor.Warning, "workers have no limit on "+strings.Join(lacking, ", ")
		finding.Mend = "boot the host with the unified hierarchy (systemd.unified_cgroup_hierarchy=1) " +
			"and with cgroup_enable=memory"
		return finding
	}
	finding.Detail = "memory, processors and processes of workers are limited"
	if Systemd() {
		finding.Detail += ", by scopes of systemd"
	}
	return finding
}

// checkLimit bounds the end of a program that only ends.
const checkLimit = time.Minute

// CheckConfinement starts a program confined.
func CheckConfinement(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "confinement",
		Detail: "each machine's program has a user, a root and no privilege of its own"}
	if err := tryConfinement(ctx); err != nil {
		finding.Level, finding.Detail = doctor.Missing, "a program cannot be confined: "+err.Error()
		finding.Mend = "run as root, with all capabilities, on a kernel from 5.12 on whose root is not an initramfs"
	}
	return finding
}

func tryConfinement(ctx context.Context) error {
	units := Units{WorkersDir: os.TempDir()}
	name := "doctor-" + strconv.Itoa(os.Getpid())
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	p, err := Start(Command{Path: "/bin/true", Output: os.DevNull, Confinement: &Confinement{
		User: user.First, Unit: units.Name(name), Limits: cgroup.Limits{Memory: 64 << 20, CPUs: 1, PIDs: 10},
	}})
	if err == nil {
		select {
		case <-p.Done():
		case <-ctx.Done():
			err = errors.Join(context.Cause(ctx), p.Kill(context.WithoutCancel(ctx)))
		}
	}
	if err == nil && !errors.Is(p.Err(), ErrSucceeded) {
		err = p.Err()
	}
	return errors.Join(err, units.End(context.WithoutCancel(ctx), name))
}
