//go:build linux

package process

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Slice is the systemd slice of all machines.
const Slice = "mayfly.slice"

// Systemd says whether systemd runs this host, see sd_booted(3).
func Systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// description of a scope; systemd's own is the whole command line.
const description = "a machine of Mayfly"

// InScope returns the command that runs c in a systemd scope of its own, when
// systemd runs this host; otherwise c itself. A service manager's signal to
// the runner's control group, as it is sent when the runner is told to drain,
// then does not reach the machines whose jobs it drains. The properties are the
// scope's, see systemd.resource-control(5).
func InScope(c Command, unit string, properties ...string) Command {
	if !Systemd() {
		return c
	}
	systemdRun, err := programs.Find("systemd-run")
	if err != nil {
		return c
	}
	return scoped(c, systemdRun, unit, properties...)
}

// scoped is InScope without its look at the host. systemd-run --scope becomes
// the command by exec: its pid, descriptors and namespaces stay.
func scoped(c Command, systemdRun, unit string, properties ...string) Command {
	options := []string{"--scope", "--quiet", "--collect", "--slice=" + Slice, "--unit=" + unit,
		"--description=" + description}
	for _, property := range properties {
		options = append(options, "--property="+property)
	}
	options = append(options, "--", c.Path)
	c.Path, c.Arguments = systemdRun, append(options, c.Arguments...)
	return c
}

// scopeLimit bounds the wait for systemd.
const scopeLimit = 30 * time.Second

// startScope has systemd put a process that runs already into a scope of its own,
// and returns when it is there.
func startScope(unit string, limits cgroup.Limits, pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), scopeLimit)
	defer cancel()
	manager, err := systemd.NewSystemdConnectionContext(ctx) // the way of systemctl for root, which needs no bus
	if err != nil {
		return fmt.Errorf("connecting to systemd: %w", err)
	}
	defer manager.Close()
	ended := make(chan string, 1)
	_, err = manager.StartTransientUnitContext(ctx, unit+scopeSuffix, "fail", scopeProperties(limits, pid), ended)
	if err != nil {
		return fmt.Errorf("having systemd make %s: %w", unit+scopeSuffix, err)
	}
	select {
	case result := <-ended:
		if result != "done" {
			return fmt.Errorf("having systemd make %s: %s", unit+scopeSuffix, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for systemd to make %s: %w", unit+scopeSuffix, context.Cause(ctx))
	}
}

// weighScope has a scope have so many percent of the processor time that scopes have by
// default. systemd writes the setting of its control group, and would undo what others
// write there.
func weighScope(unit string, percent int) error {
	ctx, cancel := context.WithTimeout(context.Background(), scopeLimit)
	defer cancel()
	manager, err := systemd.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to systemd: %w", err)
	}
	defer manager.Close()
	const runtime = true // nothing is kept for a unit of that name in another life
	if err := manager.SetUnitPropertiesContext(ctx, unit+scopeSuffix, runtime, cpuWeight(percent)); err != nil {
		return fmt.Errorf("having systemd weigh %s: %w", unit+scopeSuffix, err)
	}
	return nil
}

// cpuWeight is a weight as systemd is told. The default is 100.
func cpuWeight(percent int) systemd.Property { return property("CPUWeight", uint64(percent)) }

func property(name string, value any) systemd.Property {
	return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// scopeProperties are the scope as systemd is told. A scope that failed is
// forgotten like any other.
func scopeProperties(limits cgroup.Limits, pid int) []systemd.Property {
	memory := uint64(limits.Memory)
	if memory == 0 {
		memory = math.MaxUint64
	}
	return []systemd.Property{
		systemd.PropDescription(description), systemd.PropSlice(Slice), systemd.PropPids(uint32(pid)),
		property("CollectMode", "inactive-or-failed"),
		property("MemoryMax", memory), property("MemorySwapMax", uint64(0)),
		property("CPUQuotaPerSecUSec", uint64(limits.CPUs)*uint64(time.Second/time.Microsecond)),
		property("TasksMax", uint64(limits.PIDs)),
	}
}
