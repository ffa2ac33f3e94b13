//go:build linux

package nspawn

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// small is the size of disks that tests fill, and tiny that of disks which they fill
// with files.
const (
	small = 256 << 20
	tiny  = 64 << 20
)

// withDisks is the golden image with another disk.
func withDisks(t *testing.T, p *pool, recipe image.Recipe, size int64) image.Golden {
	t.Helper()
	golden, err := p.Build(t.Context(), recipe, func(string, string) {})
	require.NoError(t, err)
	dir, err := os.MkdirTemp(p.state, "small-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Symlink(golden.Tree(), filepath.Join(dir, image.TreeDir)))
	golden.Dir, golden.Recipe.Disk = dir, size
	require.NoError(t, makeDisk(t.Context(), golden))
	return golden
}

// taken is the space that a file takes, in bytes.
func taken(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(path, &stat))
	return stat.Blocks * 512
}

func TestWorkerThatFillsItsDiskHarmsItselfAlone(t *testing.T) {
	for name, dir := range fileSystems {
		t.Run(name, func(t *testing.T) {
			p, recipe := newPool(t, dir, "filled")
			golden := withDisks(t, p, recipe, small)
			filler, other := p.startFrom(t, golden, "aaaaaaaa"), p.startFrom(t, golden, "bbbbbbbb")
			out, err := filler.Run("sudo dd if=/dev/zero of=/fill bs=1M")
			require.Error(t, err)
			require.Contains(t, out, "No space left on device")
			require.Contains(t, filler.Output(t, "df --output=pcent / | tail -1"), "100%")

			file := filepath.Join(p.dir, "workers", filler.ID(), diskFile)
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.EqualValues(t, small, info.Size())
			const slack = 1 << 20 // what the file system of the host keeps for a file
			require.LessOrEqual(t, taken(t, file), int64(small+slack))

			other.Output(t, "dd if=/dev/zero of=/home/mayfly/file bs=1M count=100 status=none && sync")
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "workers", filler.ID(), "record"), make([]byte, 1<<20), 0o600))
			filler.Output(t, "sudo rm /fill && echo again >/home/mayfly/file")
			deadline := time.Now().Add(patience)
			for taken(t, file) > small/2 { // the kernel may punch holes a little later
				require.True(t, time.Now().Before(deadline), "what was deleted still takes the host's space")
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

func TestWorkerThatMakesTooManyFilesHarmsItselfAlone(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "inodes")
	w := p.startFrom(t, withDisks(t, p, recipe, tiny), "aaaaaaaa")
	out, err := w.Run("mkdir files && cd files && seq 50000 | xargs -n 500 sh -c 'touch \"$@\" || exit 255' sh")
	require.Error(t, err)
	require.Contains(t, out, "No space left on device")
}

// What lies in a file system in memory is the container's memory, which is limited.
func TestWorkerThatFillsItsSharedMemoryHarmsItselfAlone(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "shm")
	w := p.start(t, recipe, "aaaaaaaa")
	out, err := w.Run("head -c 1G /dev/zero >/dev/shm/file")
	require.Error(t, err)
	require.Contains(t, out, "No space left on device")
	w.Output(t, "rm /dev/shm/file && test $(df --output=size --block-size=1M /dev/shm | tail -1) = 128")
}

// What waits to be written is dropped, or the end of the container would wait for it.
func TestFullDiskIsGoneWithItsWorker(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *pool, string){
		"destroyed":        func(*testing.T, *pool, string) {},
		"supervisor ended": func(t *testing.T, p *pool, id string) { killSupervisor(t, p.Backend, id) },
	} {
		t.Run(name, func(t *testing.T) {
			p, recipe := newPool(t, btrfsDir, "gone")
			golden := withDisks(t, p, recipe, small)
			w := p.startFrom(t, golden, "aaaaaaaa")
			_, err := w.Run("dd if=/dev/zero of=fill bs=1M")
			require.Error(t, err)
			file := filepath.Join(p.dir, "workers", w.ID(), diskFile)
			require.Contains(t, loopDevices(t), file)
			end(t, p, w.ID())
			began := time.Now()
			require.NoError(t, p.again().Destroy(t.Context(), w.ID()))
			t.Logf("destroyed in %v; its file took %d MiB", time.Since(began), taken(t, file)>>20)
			require.NotContains(t, loopDevices(t), file)
			require.NoError(t, os.Remove(file))
		})
	}
}

// mountLoop mounts a new file system at a directory.
func mountLoop(t *testing.T, at string) {
	t.Helper()
	sandbox.Need(t, "mkfs.ext4", "mount")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, run("sh", "-ec",
		`truncate -s 64M "$0"; mkfs.ext4 -q "$0"; mkdir "$1"; mount -o loop "$0" "$1"`, file, at))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(at, 0)) })
}

// adoptSelf is this process as a supervisor.
func adoptSelf(t *testing.T) *process.Process {
	t.Helper()
	id, err := process.Identify(os.Getpid())
	require.NoError(t, err)
	self, err := process.Adopt(id)
	require.NoError(t, err)
	return self
}

// The file system that a worker's directory is on is everybody's.
func TestNoOtherFileSystemIsShutDown(t *testing.T) {
	at := filepath.Join(t.TempDir(), "at")
	mountLoop(t, at)
	worker := filepath.Join(at, "worker")
	require.NoError(t, os.MkdirAll(filepath.Join(worker, diskDir), 0o700))
	require.NoError(t, dropWrites(adoptSelf(t), worker))
	require.NoError(t, os.WriteFile(filepath.Join(worker, "file"), []byte("x"), 0o600))
}

// The pid of a supervisor that has ended may be another's, which sees another disk.
func TestASupervisorThatHasEndedShutsNothingDown(t *testing.T) {
	worker := t.TempDir()
	file := filepath.Join(worker, diskDir, "file")
	mountLoop(t, filepath.Join(worker, diskDir))
	self := adoptSelf(t)
	ended := &process.Process{Identity: self.Identity}
	ended.StartTime--
	require.NoError(t, dropWrites(ended, worker))
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	require.NoError(t, dropWrites(self, worker))
	require.Error(t, os.WriteFile(file, []byte("x"), 0o600), "that of one that runs is shut down")
}
