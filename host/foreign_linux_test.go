package host

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/refuse"
)

// below are the directories below the state directory that a pool has to do with.
var below = []string{"pools", "images", "downloads", "addresses", "users", "budget",
	"pools/default", "pools/default/workers", "pools/default/ended", "pools/default/templates"}

// Of what a link leads to, nothing is made, closed to others, listed or removed.
func TestNoDirectoryOfOursMayBeALink(t *testing.T) {
	for _, name := range below {
		t.Run(name, func(t *testing.T) {
			w, elsewhere := newWorld(t), t.TempDir()
			precious := filepath.Join(elsewhere, "default-aaaaaaaa", "precious")
			require.NoError(t, os.MkdirAll(precious, 0o755))
			require.NoError(t, os.Chmod(elsewhere, 0o755))
			path := filepath.Join(w.stateDir, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.Symlink(elsewhere, path))

			_, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
			require.ErrorIs(t, err, statefile.ErrForeign)
			require.ErrorContains(t, err, "plugin_config.state_dir")
			require.ErrorContains(t, err, path+" is a symbolic link, and should be a directory")
			require.ErrorContains(t, err, "another disk can be mounted there")
			finding := w.checkStateDir(w.config())
			require.Equal(t, doctor.Missing, finding.Level)
			require.Contains(t, finding.Detail, path)
			_, _ = w.Sweep(t.Context(), w.config(), Sweeping{Remove: true, Suspended: true}, silent)

			require.DirExists(t, precious)
			entries, err := os.ReadDir(elsewhere)
			require.NoError(t, err)
			require.Len(t, entries, 1)
			info, err := os.Stat(elsewhere)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		})
	}
}

func TestFilesInThePlaceOfDirectoriesAreNamed(t *testing.T) {
	for _, name := range below {
		w := newWorld(t)
		path := filepath.Join(w.stateDir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		_, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
		require.ErrorContains(t, err, path+" is a regular file, and should be a directory")
	}
}

func TestDirectoriesOfAnotherUserAreRefused(t *testing.T) {
	need.Root(t)
	w := newWorld(t)
	require.NoError(t, os.Chown(w.stateDir, 1234, 1234))
	_, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
	require.ErrorContains(t, err, w.stateDir+" belongs to user 1234, and should belong to user 0: chown it")
}

// The link to a state directory is the user's, and both ways lead to one pool.
func TestAPoolIsServedOnceByWhicheverPath(t *testing.T) {
	need.Root(t)
	w := newWorld(t)
	live, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, live.Close(t.Context())) }()

	other := w.config()
	other.StateDir = filepath.Join(shortDir(t), "link")
	require.NoError(t, os.Symlink(w.stateDir, other.StateDir))
	_, err = w.OpenPool(t.Context(), other, "root", 0, silent)
	require.ErrorIs(t, err, store.ErrHeld)

	other.StateDir = shortDir(t)
	err = inOwnMounts(func() error {
		if err := unix.Mount(w.stateDir, other.StateDir, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		_, _, err := take(t.Context(), other, store.Open, 0)
		return err
	})
	require.ErrorIs(t, err, store.ErrHeld)
	require.ErrorContains(t, err, fmt.Sprintf("process %d holds %s", os.Getpid(), other.PoolDir()))
}

func TestReadOnlyStateDirectory(t *testing.T) {
	need.Root(t)
	for name, prepare := range map[string]func(w *world){
		"that is new": func(*world) {},
		"in use": func(w *world) {
			_, err := makeDirectories(w.config(), silent)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			c, found := w.config(), ""
			err := inOwnMounts(func() error {
				if err := unix.Mount(w.stateDir, w.stateDir, "", unix.MS_BIND, ""); err != nil {
					return err
				}
				if err := unix.Mount("", w.stateDir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
					return err
				}
				found = w.checkStateDir(c).Detail
				_, err := makeDirectories(c, silent)
				return err
			})
			require.ErrorIs(t, err, unix.EROFS)
			require.ErrorContains(t, err, mendStateDir)
			require.Contains(t, found, "read-only file system")
		})
	}
}

// Somebody else may have made it, and in it what the pool needs.
func TestStateDirectoryThatIsNotOursToCloseIsLeftOpen(t *testing.T) {
	need.Root(t)
	const nobody = 65534
	w := newWorld(t)
	require.NoError(t, os.Chmod(w.stateDir, 0o755))
	for _, name := range []string{"pools", "images"} {
		path := filepath.Join(w.stateDir, name)
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.Chown(path, nobody, nobody))
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	c := w.config()
	require.NoError(t, onOwnThread(func() error {
		if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); failed != 0 {
			return failed
		}
		_, err := makeDirectories(c, log)
		return err
	}))
	require.Contains(t, said.String(), "is left so")
	require.Contains(t, said.String(), "operation not permitted")
	requireMode(t, 0o755, w.stateDir)
}

// onOwnThread does something on a thread that ends with it, and with all that it has
// changed of itself. On another goroutine it cannot fail the test.
func onOwnThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- do()
	}()
	return <-done
}

// inOwnMounts does something with mounts of its own, which end with it.
func inOwnMounts(do func() error) error {
	return onOwnThread(func() error {
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = do()
		}
		return err
	})
}

// lacking names, for the test binary that is run again for TestTryLacking, a system
// call that there is not, and a directory to try without it.
const lacking = "MAYFLY_TEST_LACKING"

func TestTryLacking(*testing.T) {
	call, dir, ok := strings.Cut(os.Getenv(lacking), ":")
	if !ok {
		return
	}
	calls := map[string][]uint32{
		"flock": {unix.SYS_FLOCK}, "link": {unix.SYS_LINKAT}, "rename": {unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2},
	}
	err := refuse.Calls(unix.EOPNOTSUPP, calls[call]...)
	if err == nil {
		err = tryFiles(dir)
	}
	fmt.Println(err)
}

func TestFileSystemsThatLackSomethingAreNamed(t *testing.T) {
	require.NoError(t, tryFiles(t.TempDir()))
	for call, want := range map[string]string{
		"flock": filelock.ErrNoLocks.Error(), "link": "its file system lacks what is needed: link ",
		"rename": "its file system lacks what is needed: rename ",
	} {
		child := exec.Command(os.Args[0], "-test.run=^TestTryLacking$")
		child.Env = append(os.Environ(), lacking+"="+call+":"+t.TempDir())
		said, err := child.Output()
		require.NoError(t, err)
		require.Contains(t, string(said), want)
	}
}

// What stands in the queue for the host, or among what workers hold, and is not ours
// keeps no pool from opening, working and closing.
func TestNobodyWaitsForWhatIsForeignInTheBudget(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "below"), 0o700) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":      func(path string) error { return os.Symlink("/proc/self/mem", path) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			planted := []string{
				"queue/0000000000000000001-default-aaaaaaaa", "queue/stray",
				"held/default-aaaaaaaa,1,1,1", "held/stray",
			}
			for i, path := range planted {
				planted[i] = filepath.Join(w.stateDir, "budget", path)
				require.NoError(t, os.MkdirAll(filepath.Dir(planted[i]), 0o700))
				require.NoError(t, plant(planted[i]))
			}
			p, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
			require.NoError(t, err)
			_, err = p.Grow(1)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return running(p) == 1 }, soon, 10*time.Millisecond)
			require.NoError(t, p.Close(t.Context()))
			for _, path := range planted {
				_, err := os.Lstat(path)
				require.NoError(t, err)
			}
		})
	}
}

// A name that came from elsewhere leads nowhere.
func TestNamesThatNoPoolHasAreNoPools(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"lost+found", "Copy of default", ".trash", "a\nb"} {
		w.leave(name, "default-aaaaaaaa")
	}
	held := filepath.Join(w.stateDir, "budget", "held")
	require.NoError(t, os.MkdirAll(held, 0o700))
	for _, name := range []string{
		"held-aaaaaaaa,1,1,1", "held--aaaaaaaa,1,1,1", strings.Repeat("long", 10) + "-aaaaaaaa,1,1,1",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(held, name), nil, 0o600))
	}
	h := w.Host
	h.AddressOwners = func(config.Config) ([]string, error) {
		return []string{"../x", "./x", "/etc", "a\x00b/x", "gone/gone-aaaaaaaa", "..", "UPPER/x"}, nil
	}
	names, err := h.PoolNames(w.config())
	require.NoError(t, err)
	require.Equal(t, []string{"gone", "held"}, names)
	_, err = h.Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(w.stateDir, "lock"))
	require.NoDirExists(t, filepath.Join(w.stateDir, "workers"))
	require.DirExists(t, filepath.Join(w.stateDir, "pools", "lost+found", "workers", "default-aaaaaaaa"))
}
