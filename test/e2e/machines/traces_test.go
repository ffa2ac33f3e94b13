//go:build linux

package machines

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// The kinds of things that the program makes on a host.
const (
	machine   = "machine" // named by its worker's directory
	program   = "process of the program"
	namespace = "network namespace"
	link      = "link"
	table     = "nftables table"
	mount     = "mount"
	directory = "worker directory"
	lease     = "address" // and the worker that has it
	building  = "unfinished image"
)

// traces are the names of what there is, by kind.
type traces map[string][]string

// look looks at the host with no help of the program.
func look() (traces, error) {
	found := make(traces)
	for _, see := range []func(traces) error{
		seeProcesses, seeNamespaces, seeLinks, seeTables, seeMounts, seeFiles, seeAddresses,
	} {
		if err := see(found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// lookSince returns what was not there before.
func lookSince(t *testing.T, before traces) traces {
	t.Helper()
	now, err := look()
	require.NoError(t, err)
	for kind, names := range now {
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(before[kind], name) })
		if now[kind] = names; len(names) == 0 {
			delete(now, kind)
		}
	}
	return now
}

func (f traces) add(kind, name string) { f[kind] = append(f[kind], name) }

// tag begins the -name of every machine below the state directory; its
// worker's directory follows.
const tag = "mayfly:"

func seeProcesses(found traces) error {
	running, err := process.Find(func([]string) bool { return true })
	for _, arguments := range running {
		if dir, ok := machineOf(arguments); ok {
			found.add(machine, dir)
		}
		if arguments[0] == filepath.Join(home, testrun.ProgramName) {
			found.add(program, strings.Join(arguments, " "))
		}
	}
	return err
}

// machineOf returns the worker's directory that a command line names.
func machineOf(arguments []string) (dir string, ok bool) {
	for i, argument := range arguments[:max(len(arguments)-1, 0)] {
		switch argument {
		case "-name":
			dir, ok = strings.CutPrefix(arguments[i+1], tag)
		case "--log-file": // Cloud Hypervisor's
			dir, ok = filepath.Dir(arguments[i+1]), true
		}
	}
	return dir, ok && strings.HasPrefix(dir, stateDir()+"/")
}

func seeNamespaces(found traces) error {
	entries, err := os.ReadDir("/run/netns")
	for _, entry := range entries {
		found.add(namespace, entry.Name())
	}
	return err
}

func seeLinks(found traces) error {
	links, err := netlinkdump.LinkList()
	for _, l := range links {
		found.add(link, l.Attrs().Name)
	}
	return err
}

func seeTables(found traces) error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := netlinkdump.Settled(connection.ListTables)
	for _, t := range tables {
		found.add(table, t.Name)
	}
	return err
}

func seeMounts(found traces) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		const point = 4 // of the fields that proc_pid_mountinfo(5) lists
		found.add(mount, strings.Fields(line)[point])
	}
	return err
}

func seeFiles(found traces) error {
	for kind, pattern := range map[string]string{
		directory: "pools/*/workers/*",
		building:  "images/.building-*",
	} {
		paths, err := filepath.Glob(filepath.Join(stateDir(), pattern))
		if err != nil {
			return err
		}
		found[kind] = append(found[kind], paths...)
	}
	return nil
}

// seeAddresses passes over the list's own files, and what goes meanwhile.
func seeAddresses(found traces) error {
	paths, err := filepath.Glob(filepath.Join(stateDir(), "addresses", "*"))
	for _, path := range paths {
		if _, err := netip.ParseAddr(filepath.Base(path)); err != nil {
			continue
		}
		owner, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		default:
			found.add(lease, fmt.Sprintf("%s of %s", path, owner))
		}
	}
	return err
}
