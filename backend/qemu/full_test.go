//go:build linux

package qemu

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// filler is a boot sector that fills its disk: it writes 32 KiB after another, by the
// firmware, and goes on whatever that answers.
func filler() []byte {
	sector := make([]byte, 512)
	copy(sector, []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x20, 0x7c, // again: mov si, address block
		0xb8, 0x00, 0x43, // mov ax, extended write
		0xcd, 0x13, // int 13h, with dl as the firmware left it
		0x66, 0x83, 0x06, 0x28, 0x7c, 0x40, // add dword [first sector], 64
		0xeb, 0xf0, // jmp again
	})
	copy(sector[0x20:], []byte{
		0x10, 0x00, // size of the address block
		0x40, 0x00, // 64 sectors
		0x00, 0x80, 0x00, 0x00, // from 0:8000h
		0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // to sector 128, at first
	})
	copy(sector[510:], "\x55\xaa")
	return sector
}

// TestALimitedDiskTakesItsTime has the same guest write to a disk that may take 1 MiB in
// a second. A machine that is slower proves nothing, but fails nothing either: only what
// came too soon would.
func TestALimitedDiskTakesItsTime(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64")
	const limit, written = 1 << 20, 4 << 20
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) { // the machine's user passes through
		require.NoError(t, os.Chmod(at, 0o711))
	}
	spec := vmm.Spec{
		Accel: kvm.TCG, CPUs: 1, Memory: 128 << 20, Format: "raw", Layout: vmm.Layout{DiskQueues: 1},
		Disk: filepath.Join(dir, "disk"), State: filepath.Join(dir, "state"),
		Console: filepath.Join(dir, "console.log"),
	}
	require.NoError(t, os.WriteFile(spec.Disk, filler(), 0o600))
	require.NoError(t, os.Truncate(spec.Disk, 1<<30))
	driver := New("", Limits{DiskBandwidth: limit}, slog.New(slog.DiscardHandler))
	tag := driver.Traits().Tag
	tag.WorkersDir = dir
	const id = "limited-aaaaaaaa"
	units := process.Units{WorkersDir: dir}
	t.Cleanup(func() { require.NoError(t, units.End(context.Background(), id)) })
	began := time.Now()
	m, err := driver.Launch(vmm.Place{ID: id, Dir: dir, Tag: tag.Value(id), User: user.First, Units: units}, spec)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Process().Kill(context.Background())) })
	require.Eventually(t, func() bool {
		var file unix.Stat_t
		return unix.Stat(spec.Disk, &file) == nil && file.Blocks*512 >= written
	}, testrun.Patience(t), 10*time.Millisecond)
	const burst = limit / 10 // QEMU's, after a rest
	require.GreaterOrEqual(t, time.Since(began).Seconds(), float64(written-2*burst)/limit-0.5)
}

// TestDiskFillerHarmsItself has a guest fill the host's disk. It goes on with I/O
// errors, and is told apart; it cannot be saved until there is room, and runs on
// meanwhile.
func TestDiskFillerHarmsItself(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64")
	patience := testrun.Patience(t)
	d := sandbox.NewDisk(t, 16<<20)
	spec := vmm.Spec{
		Accel: kvm.TCG, CPUs: 1, Memory: 128 << 20, Format: "raw",
		Disk: filepath.Join(d.Dir, "disk"), State: filepath.Join(d.Dir, "state"),
		Console: filepath.Join(d.Dir, "console.log"),
	}
	require.NoError(t, os.WriteFile(spec.Disk, filler(), 0o600))
	require.NoError(t, os.Truncate(spec.Disk, 1<<30))
	driver := New("", Limits{}, slog.New(slog.DiscardHandler))
	tag := driver.Traits().Tag
	tag.WorkersDir = d.Dir
	const id = "full-aaaaaaaa"
	units := process.Units{WorkersDir: d.Dir}
	t.Cleanup(func() { require.NoError(t, units.End(context.Background(), id)) })
	launched, err := driver.Launch(vmm.Place{
		ID: id, Dir: d.Dir, Tag: tag.Value(id), User: user.First, Units: units,
	}, spec)
	require.NoError(t, err)
	m := launched.(*machine)
	t.Cleanup(func() { require.NoError(t, m.process.Kill(context.Background())) })
	ctx, cancel := whileRunning(t.Context(), m)
	defer cancel()
	require.NoError(t, m.Boot(ctx))

	select {
	case err := <-m.DiskErrors():
		require.True(t, diskspace.IsFull(err), "%v", err)
		require.ErrorContains(t, err, "writing to "+spec.Disk)
	case <-m.process.Done():
		t.Fatal("a full disk ended the machine: ", m.process.Err())
	case <-time.After(patience):
		t.Fatal("nobody hears that the disk is full")
	}

	err = m.Save(ctx)
	require.ErrorIs(t, err, backend.ErrRunsOn)
	require.ErrorContains(t, err, "the file system of "+d.Dir+" is full")
	t.Log(err)
	require.NoFileExists(t, spec.State)
	var status struct{ Status string }
	require.NoError(t, m.qmp.Execute(ctx, "query-status", nil, &status))
	require.Equal(t, "running", status.Status)

	// The guest would take whatever room there is.
	require.NoError(t, m.qmp.Execute(ctx, "stop", nil, nil))
	require.NoError(t, os.Truncate(spec.Disk, 1<<20))
	require.NoError(t, m.Save(ctx))
	<-m.process.Done()
	info, err := os.Stat(spec.State)
	require.NoError(t, err)
	require.Positive(t, info.Size())
}
