//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/escapee"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// firmware is a machine with nothing but its firmware, which looks for a system on a
// blank disk for as long as it is let: it boots in no time.
type firmware struct {
	world
	golden, memory string // a directory of files that only look like an image, and a template's memory
	// begin starts a machine.
	begin func(vmm.Place, vmm.Spec) (vmm.Monitor, error)
}

func newFirmware(t testing.TB, pool string) firmware {
	t.Helper()
	f := firmware{world: newWorld(t, pool)}
	require.NoError(t, f.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.network.Close(context.Background())) })
	f.begin = f.driver.Launch
	f.golden, f.memory = filepath.Join(f.dir, "golden"), filepath.Join(f.dir, "template")
	for _, dir := range []string{f.golden, f.memory} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
	}
	golden := image.Golden{Dir: f.golden}
	for _, path := range []string{golden.Disk(), golden.Kernel(), golden.Initrd(), filepath.Join(f.golden, image.ManifestFile)} {
		require.NoError(t, os.WriteFile(path, []byte("content"), 0o400))
	}
	f.memory = filepath.Join(f.memory, "memory")
	return f
}

// place is that of a worker, which the end of the test removes. Each has another user.
func (f firmware) place(t testing.TB, id string, uid int) vmm.Place {
	t.Helper()
	dir := filepath.Join(f.options.WorkersDir, id)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	t.Cleanup(func() {
		require.NoError(t, f.again().Destroy(context.Background(), id))
		require.NoError(t, f.network.Release(context.Background(), id))
		require.NoError(t, os.RemoveAll(dir))
	})
	lease, err := f.network.Acquire(t.Context(), id)
	require.NoError(t, err)
	return vmm.Place{
		ID: id, Dir: dir, Namespace: lease.Namespace, Tag: f.tag().Value(id),
		User: uid, Units: process.Units{WorkersDir: f.options.WorkersDir},
	}
}

func (f firmware) spec(t testing.TB, place vmm.Place) vmm.Spec {
	t.Helper()
	s := vmm.Spec{
		Accel: kvm.TCG, CPUs: cpus, Memory: 64 << 20, Format: "raw", Network: true,
		Layout: vmm.Layout{
			DiskQueues: cpus, NetworkQueues: network.Queues(cpus), OneSocket: true, Generation: hasGenerations,
		},
		Disk: filepath.Join(place.Dir, "disk"), Console: filepath.Join(place.Dir, "console.log"),
		State: filepath.Join(place.Dir, "state"),
	}
	require.NoError(t, disk.Create(s.Disk, 1<<20))
	return s
}

// launch returns a machine, and a context that ends with it.
func (f firmware) launch(t testing.TB, place vmm.Place, spec vmm.Spec) (context.Context, *machine) {
	t.Helper()
	for _, name := range []string{agentSocket, qmpSocket} {
		require.NoError(t, os.RemoveAll(filepath.Join(place.Dir, name)))
	}
	m, err := f.begin(place, spec)
	require.NoError(t, err)
	ctx, cancel := whileRunning(t.Context(), m)
	t.Cleanup(cancel)
	return ctx, m.(*machine)
}

// template saves a machine's memory where forks find it, and returns its state.
func (f firmware) template(t testing.TB) (state string) {
	t.Helper()
	place := f.place(t, filepath.Base(f.dir)+"-template", user.First)
	spec := f.spec(t, place)
	spec.MemoryFile, spec.MemoryUse, spec.State = f.memory, vmm.Written, f.memory+"-state"
	require.NoError(t, disk.Create(f.memory, spec.Memory))
	ctx, m := f.launch(t, place, spec)
	require.NoError(t, m.Boot(ctx))
	require.NoError(t, m.Save(ctx))
	return spec.State
}

// fork is a machine that runs on the template's memory.
func (f firmware) fork(t testing.TB, place vmm.Place, state string) (context.Context, *machine) {
	t.Helper()
	spec := f.spec(t, place)
	spec.MemoryFile, spec.MemoryUse, spec.Incoming = f.memory, vmm.Forked, true
	ctx, m := f.launch(t, place, spec)
	require.NoError(t, m.Restore(ctx, state))
	require.NoError(t, f.network.CutOff(ctx, place.ID))
	require.NoError(t, m.process.Joined(ctx))
	require.NoError(t, m.Continue(ctx))
	require.NoError(t, f.network.Connect(ctx, place.ID))
	return ctx, m
}

// TestAConfinedMachineIsForkedSuspendedAndResumed changes the user with each start.
func TestAConfinedMachineIsForkedSuspendedAndResumed(t *testing.T) {
	f := newFirmware(t, "confined")
	state := f.template(t)
	place := f.place(t, "confined-aaaaaaaa", user.First+1)
	ctx, m := f.fork(t, place, state)
	requireNoPower(t, place, m)
	require.NoError(t, m.Save(ctx))

	place.User = user.First + 2
	spec := m.spec
	spec.MemoryUse, spec.MemoryFile = vmm.Unforked, ""
	ctx, m = f.launch(t, place, spec)
	require.NoError(t, m.Restore(ctx, spec.State))
	require.NoError(t, m.Continue(ctx))
	requireNoPower(t, place, m)
	require.NoError(t, m.process.Err())
	require.NoFileExists(t, spec.State)
}

// TestAnEscapeFindsAnEmptyRoom starts what tries to escape in place of QEMU: as
// a worker's user, in its namespace, root and group, with the files of a fork,
// beside a fork that runs.
func TestAnEscapeFindsAnEmptyRoom(t *testing.T) {
	need.Programs(t, "go")
	f := newFirmware(t, "escape")
	neighbour := f.place(t, "escape-aaaaaaaa", user.First+1)
	_, theirs := f.fork(t, neighbour, f.template(t))

	ours := f.place(t, "escape-bbbbbbbb", user.First+2)
	golden := image.Golden{Dir: f.golden}
	spec := f.spec(t, ours)
	spec.Kernel, spec.Initrd, spec.Backing = golden.Kernel(), golden.Initrd(), golden.Dir
	spec.MemoryFile, spec.MemoryUse = f.memory, vmm.Forked
	record, shared := filepath.Join(ours.Dir, "worker.json"), filepath.Join(stateDir, "escape.json")
	require.NoError(t, errors.Join(os.WriteFile(record, []byte("{}"), 0o644), os.WriteFile(shared, []byte("{}"), 0o644),
		os.WriteFile(filepath.Join(theirs.dir, "worker.json"), []byte("{}"), 0o644)))
	tcp, err := net.Listen("tcp4", ":0")
	require.NoError(t, err)
	defer tcp.Close()
	port := tcp.Addr().(*net.TCPAddr).Port
	abstract, err := net.Listen("unix", "@mayfly-escape")
	require.NoError(t, err)
	defer abstract.Close()

	forbidden := []string{
		"list=" + theirs.dir, "read=" + theirs.spec.Disk, "read=" + filepath.Join(theirs.dir, "worker.json"), "read=" + record,
		"dial=unix:" + filepath.Join(theirs.dir, agentSocket), "read=/etc/shadow", "read=" + shared,
		"read=" + filepath.Join(f.golden, image.ManifestFile), "write=" + golden.Disk(), "write=" + spec.Kernel,
		fmt.Sprintf("kill=%d", theirs.process.PID), fmt.Sprintf("trace=%d", theirs.process.PID),
		fmt.Sprintf("kill=%d", os.Getpid()), "dial=unix:" + abstract.Addr().String(),
		"root=", "mount=" + stateDir, "mknod=" + filepath.Join(ours.Dir, "node"),
	}
	for _, address := range []string{network.Subnet(subnet).Gateway().String(), "127.0.0.1"} {
		forbidden = append(forbidden, fmt.Sprintf("dial=tcp:%s:%d", address, port))
	}
	allowed := []string{"read=" + spec.Disk, "write=" + spec.Disk, "write=" + spec.Console, "read=" + spec.Kernel,
		"read=" + golden.Disk(), "read=" + f.memory}
	readOnly := f.driver.versions.of(f.driver.binary()).mapsReadOnly()
	if readOnly { // what QEMU before 8.2 opens for writing is spoilt by who has taken it over
		forbidden = append(forbidden, "write="+f.memory)
	}

	output := filepath.Join(t.TempDir(), "output")
	program, err := escapee.Build(t.TempDir())
	require.NoError(t, err)
	c := process.Command{Path: program, Arguments: append(forbidden, allowed...), Output: output}
	confined, err := ours.Start(c, spec, spec.Files(ours.Dir, readOnly))
	require.NoError(t, err)
	require.ErrorIs(t, endOf(confined), process.ErrSucceeded)
	results, _, err := escapee.Read(output)
	require.NoError(t, err)
	for _, attempt := range forbidden {
		require.Contains(t, results, attempt)
		require.NotEqual(t, escapee.Worked, results[attempt], attempt)
	}
	for _, attempt := range allowed {
		require.Equal(t, escapee.Worked, results[attempt], attempt)
	}

	// As we are each works, or it proves nothing.
	require.NoError(t, os.Remove(output))
	outside := slices.DeleteFunc(forbidden, func(attempt string) bool { return strings.HasPrefix(attempt, "mount=") })
	plain, err := process.Start(process.Command{Path: program, Arguments: outside, Output: output})
	require.NoError(t, err)
	require.ErrorIs(t, endOf(plain), process.ErrSucceeded)
	results, _, err = escapee.Read(output)
	require.NoError(t, err)
	for _, attempt := range outside {
		require.Equal(t, escapee.Worked, results[attempt], attempt)
	}
}

func endOf(p *process.Process) error {
	<-p.Done()
	return p.Err()
}

// requireNoPower looks at a worker's QEMU from outside.
func requireNoPower(t *testing.T, place vmm.Place, m *machine) {
	t.Helper()
	pid := m.process.PID
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	const none = "0000000000000000\n"
	for _, line := range []string{
		fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", place.User),
		"CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapBnd:\t" + none, "CapAmb:\t" + none,
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Groups:\t \n",
	} {
		require.Contains(t, string(status), line)
	}
	for _, kind := range []string{"mnt", "net", "ipc", "uts"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		require.NoError(t, err)
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		require.NoError(t, err)
		require.NotEqual(t, ours, theirs, kind)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	require.NoError(t, err)
	require.Contains(t, string(groups), place.Units.Name(place.ID))
}

// BenchmarkFirmwareFork measures how long a fork takes from its launch until it runs,
// without a guest that does anything, confined and as root without any of that, by turns,
// each alone. It reports the medians: -benchtime 50x.
func BenchmarkFirmwareFork(b *testing.B) {
	f := newFirmware(b, "firmware")
	state := f.template(b)
	confined, plain := f, f
	plain.begin = func(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
		return f.driver.launch(place, spec, func(c process.Command, _ vmm.Spec, _ vmm.Files) (*process.Process, error) {
			c.Namespace = place.Namespace
			return process.Start(c)
		})
	}
	took := map[string][]time.Duration{}
	for n := 0; b.Loop(); n++ {
		id := fmt.Sprintf("firmware-fork%c%c%c%c", 'a'+n/17576%26, 'a'+n/676%26, 'a'+n/26%26, 'a'+n%26)
		place := f.place(b, id, user.First+1+n%1000)
		for kind, f := range map[string]firmware{"confined": confined, "plain": plain} {
			began := time.Now()
			_, m := f.fork(b, place, state)
			took[kind] = append(took[kind], time.Since(began))
			require.NoError(b, m.process.Kill(b.Context()))
			require.NoError(b, os.Remove(m.spec.Disk))
		}
	}
	for kind, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, kind+"-ms")
	}
}
