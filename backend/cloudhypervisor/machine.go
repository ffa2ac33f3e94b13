//go:build linux

package cloudhypervisor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Names of Cloud Hypervisor's own files, in a machine's directory.
const (
	// logFile is what Cloud Hypervisor logs, outputFile what it prints.
	logFile    = "vmm.log"
	outputFile = "vmm.out"
	apiSocket  = "api.sock"
	// vsockDir has nothing but the vsock socket in it: the machine may make
	// and remove files there.
	vsockDir = "run"
)

func vsockPath(dir string) string { return filepath.Join(dir, vsockDir, "agent") }

// Descriptors that a machine inherits: a socket that listens already, so that
// nobody has to wait until it has opened one, and the end of a pipe.
const (
	apiFD   = 3
	eventFD = 4
)

// killLimit bounds the end of a machine that its guest has ended already.
const killLimit = 30 * time.Second

// machine is a Cloud Hypervisor process.
type machine struct {
	driver  Driver
	dir     string
	user    int
	spec    vmm.Spec
	process *process.Process
	api     *api.Client
	// heard is closed when the last event has been read.
	heard chan struct{}
	// lastWords is the event that explains the end of the machine.
	lastWords atomic.Pointer[string]
}

var (
	_ vmm.Monitor     = (*machine)(nil)
	_ vmm.PowerButton = (*machine)(nil)
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
		"--kernel", kernel, "--cmdline", vmm.ProbeCommandLine(),
		"--cpus", "boot=1", "--memory", "size=256M",
		"--serial", "file=" + console, "--console", "off",
	}
}

// Launch starts a process that is not a machine yet.
func (d Driver) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
	if spec.Kernel == "" {
		return nil, errFirmware
	}
	files := spec.Files(place.Dir, false)
	for _, dir := range []string{filepath.Join(place.Dir, vsockDir), spec.State} {
		files.Own = append(files.Own, dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("preparing the machine of %s: %w", place.ID, err)
		}
	}
	socket, err := process.Listen(filepath.Join(place.Dir, apiSocket))
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	events, said, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("a pipe for events: %w", err)
	}
	defer said.Close()
	files.Own = append(files.Own, filepath.Join(place.Dir, logFile))
	child, err := place.Start(process.Command{
		Path: d.binary(), Arguments: arguments(place.Tag),
		Files: []*os.File{socket, said}, Output: filepath.Join(place.Dir, outputFile), // apiFD, eventFD
	}, spec, files)
	if err != nil {
		_ = events.Close()
		return nil, err
	}
	m := &machine{
		driver: d, dir: place.Dir, user: place.User, spec: spec, process: child,
		api: api.New(filepath.Join(place.Dir, apiSocket)), heard: make(chan struct{}),
	}
	go m.listen(events)
	return m, nil
}

// Process is Cloud Hypervisor.
func (m *machine) Process() *process.Process { return m.process }

// Boot makes the process a machine that runs.
func (m *machine) Boot(ctx context.Context) error {
	if err := m.api.Create(ctx, m.own().config()); err != nil {
		return err
	}
	return m.api.Boot(ctx)
}

// Agent waits until the agent listens. The socket's directory is the machine's: the
// socket is opened first, and what it is looked at, so that the machine cannot have
// us speak with another's.
func (m *machine) Agent(ctx context.Context) (net.Conn, error) {
	fd, err := unix.Open(vsockPath(m.dir), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the machine's socket: %w", err)
	}
	defer unix.Close(fd)
	var socket unix.Stat_t
	if err := unix.Fstat(fd, &socket); err != nil {
		return nil, fmt.Errorf("looking at the machine's socket: %w", err)
	}
	if socket.Mode&unix.S_IFMT != unix.S_IFSOCK || int(socket.Uid) != m.user {
		return nil, fmt.Errorf("%s is not the machine's socket", vsockPath(m.dir))
	}
	return guest.DialVsock(ctx, fmt.Sprintf("/proc/self/fd/%d", fd))
}

// PressPowerButton asks the guest to end.
func (m *machine) PressPowerButton(ctx context.Context) error { return m.api.PowerButton(ctx) }

// listen follows the events until the machine has ended.
func (m *machine) listen(events *os.File) {
	defer close(m.heard)
	defer events.Close()
	_ = api.ReadEvents(events, m.note) // without events the machine still ends
}

// note keeps the events that explain an end. Neither a panic nor a reboot of
// the guest ends the process: a worker that starts anew has lost its job and
// its identity.
func (m *machine) note(event api.Event) {
	explanations := map[string]string{
		api.Panicked:  vmm.Panicked,
		api.Rebooting: vmm.Rebooted,
		api.Shutdown:  vmm.PoweredOff,
	}
	words, ends := explanations[event.String()]
	if !ends {
		return
	}
	m.lastWords.CompareAndSwap(nil, &words) // what came first is the reason
	if event.String() != api.Shutdown {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), killLimit)
			defer cancel()
			_ = m.process.Kill(ctx) // the pool destroys it as well
		}()
	}
}

// End is the first event that explains an end.
func (m *machine) End() (words string, poweredOff bool) {
	said := m.lastWords.Load()
	if said == nil {
		return "", false
	}
	return *said, *said == vmm.PoweredOff
}

// Heard is closed when the last event was read.
func (m *machine) Heard() <-chan struct{} { return m.heard }
