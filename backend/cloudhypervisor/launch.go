//go:build linux

package cloudhypervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Names of the files of a machine, in the worker's directory.
const (
	diskFile    = "disk"
	memoryFile  = "memory"
	consoleFile = "console.log"
	// logFile is what Cloud Hypervisor logs, outputFile what it prints.
	logFile    = "vmm.log"
	outputFile = "vmm.out"
	apiSocket  = "api.sock"
	// vsockDir has nothing but the vsock socket in it: the machine may make
	// and remove files there. savedDir holds a snapshot.
	vsockDir = "run"
	savedDir = "saved"
)

// machineFiles are all of them.
var machineFiles = []string{diskFile, memoryFile, consoleFile, logFile, outputFile, apiSocket, vsockDir, savedDir}

func vsockPath(dir string) string { return filepath.Join(dir, vsockDir, "agent") }
func savedPath(dir string) string { return filepath.Join(dir, savedDir) }

// Descriptors that a machine inherits: a socket that listens already, so that
// nobody has to wait until it has opened one, and the end of a pipe.
const (
	apiFD   = 3
	eventFD = 4
)

// arguments are the command line of a process that waits to be told over its
// API what to run. The log's path is its tag as well.
func arguments(log string) []string {
	return []string{
		"--api-socket", "fd=" + strconv.Itoa(apiFD),
		"--event-monitor", "fd=" + strconv.Itoa(eventFD),
		"--seccomp", "true",
		"--log-file", log,
	}
}

// probeArguments boot a kernel with KVM, up to its panic.
func probeArguments(kernel, console string) []string {
	return []string{
		"--kernel", kernel, "--cmdline", "console=" + vmm.ConsoleDevice() + " panic=-1",
		"--cpus", "boot=1", "--memory", "size=256M",
		"--serial", "file=" + console, "--console", "off",
	}
}

// unprivileged is a command without capabilities: everything that a machine
// needs belongs to root, and its network device is there already.
func unprivileged(c process.Command) process.Command {
	setpriv, err := programs.Find("setpriv")
	if err != nil {
		return c // Check says so
	}
	options := []string{"--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--", c.Path}
	c.Path, c.Arguments = setpriv, append(options, c.Arguments...)
	return c
}

// launch starts a process that is no machine yet.
func (b *Backend) launch(id, dir, namespace, console string) (*machine, error) {
	for _, name := range []string{vsockDir, savedDir} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("preparing the machine of %s: %w", id, err)
		}
	}
	socket, err := process.Listen(filepath.Join(dir, apiSocket))
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	events, said, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("a pipe for events: %w", err)
	}
	defer said.Close()
	command := unprivileged(process.Command{
		Path: b.options.Binary, Arguments: arguments(b.tag.Value(id)), Namespace: namespace,
		Files: []*os.File{socket, said}, Output: filepath.Join(dir, outputFile), // apiFD, eventFD
	})
	child, err := process.Start(process.InScope(command, "mayfly-"+id))
	if err != nil {
		_ = events.Close()
		return nil, err
	}
	m := &machine{
		id: id, dir: dir, how: backend.Clone, process: child,
		api: api.New(filepath.Join(dir, apiSocket)), heard: make(chan struct{}),
	}
	go m.listen(events)
	go bootlog.Bound(m.Done(), console, command.Output, filepath.Join(dir, logFile))
	return m, nil
}

// tunFlags is a file that Cloud Hypervisor reads if it is there: that of a
// device of the same name in the network namespace that /sys was mounted in.
const tunFlags = "/sys/class/net/" + network.TAP + "/tun_flags"

// readable adds what there is on this host to what a machine may read.
func readable(paths ...string) []string {
	if _, err := os.Stat(tunFlags); err == nil {
		paths = append(paths, tunFlags)
	}
	return paths
}
