//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// CheckGroups says what this host's control groups can limit: it makes one as a
// machine has it, and looks which limits are there.
func CheckGroups(ctx context.Context) doctor.Finding {
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
	lacking, err := tryGroup(ctx, hierarchies)
	switch {
	case err != nil:
		finding.Level, finding.Detail = doctor.Missing, "a worker cannot have one: "+err.Error()
		finding.Mend = "run as root, where control groups can be made"
		return finding
	case len(lacking) > 0:
		finding.Level, finding.Detail = doctor.Warning, "workers have no limit on "+strings.Join(lacking, ", ")
		finding.Mend = "boot the host with the unified hierarchy (systemd.unified_cgroup_hierarchy=1) " +
			"and with cgroup_enable=memory; in a container, have it get these controllers"
		return finding
	}
	finding.Detail = "memory, processors and processes of workers are limited"
	if Systemd() {
		finding.Detail += ", by scopes of systemd"
	}
	return finding
}

// checkLimit bounds the end of a program that only ends, and checkEnd that of what is
// left then.
const (
	checkLimit = time.Minute
	checkEnd   = 10 * time.Second
)

// checkUnits are the groups of what is tried, and checkName the name of one. Checks
// may run side by side.
var (
	checkUnits = Units{WorkersDir: os.TempDir()}
	checkCount atomic.Int32
)

func checkName() string { return fmt.Sprintf("%s%d-%d", checkPrefix, os.Getpid(), checkCount.Add(1)) }

const checkPrefix = "doctor-"

// endKilledChecks ends the groups of processes that were killed while they tried.
func endKilledChecks(ctx context.Context) error {
	names, err := checkUnits.all()
	if err != nil {
		return err
	}
	for _, name := range names {
		numbers, ours := strings.CutPrefix(name, checkPrefix)
		text, _, _ := strings.Cut(numbers, "-")
		pid, err := strconv.Atoi(text)
		if !ours || err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		if err := checkUnits.End(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// tryGroup makes a group, and returns what it does not limit. Where systemd makes it
// there must be a process in it.
func tryGroup(ctx context.Context, hierarchies []cgroup.Hierarchy) (lacking []string, err error) {
	name := checkName()
	limits := cgroup.Limits{Memory: 64 << 20, CPUs: 1, PIDs: 10}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkLimit)
	defer cancel()
	if err := endKilledChecks(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, checkUnits.End(ctx, name)) }()
	if !Systemd() {
		if _, err := checkUnits.Make(name, limits); err != nil {
			return nil, err
		}
		return scope(hierarchies, checkUnits.Name(name)).Lacking(), nil
	}
	member, err := Start(Command{Path: "/bin/sleep", Arguments: []string{"infinity"}, Output: os.DevNull})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, member.Kill(ctx)) }()
	if err := startScope(checkUnits.Name(name), limits, member.PID); err != nil {
		return nil, err
	}
	return scope(hierarchies, checkUnits.Name(name)).Lacking(), nil
}

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

func tryConfinement(ctx context.Context) (err error) {
	name := checkName()
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), checkLimit+checkEnd)
	defer cancelEnd()
	if err := endKilledChecks(end); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, checkUnits.End(end, name)) }()
	p, err := Start(Command{Path: "/bin/true", Output: os.DevNull, Confinement: &Confinement{
		User: user.First, Unit: checkUnits.Name(name), FileSize: 1 << 20,
		Limits: cgroup.Limits{Memory: 64 << 20, CPUs: 1, PIDs: 10},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	select {
	case <-p.Done():
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.Kill(end))
	}
	if !errors.Is(p.Err(), ErrSucceeded) {
		return p.Err()
	}
	return nil
}
