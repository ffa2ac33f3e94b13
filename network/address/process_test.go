package address

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

const (
	processes  = 4
	perProcess = 250
	held       = 3
	crowded    = "10.9.0.0/28" // 13 addresses for the 12 that are held at once
)

// TestMain lets the test binary play another plugin process.
func TestMain(m *testing.M) {
	role, dir := os.Getenv("MAYFLY_TEST_ROLE"), os.Getenv("MAYFLY_TEST_DIR")
	var err error
	switch role {
	case "":
		os.Exit(m.Run())
	case "crash":
		err = crash(dir)
	default:
		err = takeAndGive(dir, role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func process(ctx context.Context, dir, role string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "MAYFLY_TEST_ROLE="+role, "MAYFLY_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestProcessesTakeNoAddressTwiceAndLoseNone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "witness"), 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var running []*exec.Cmd
	for i := range processes {
		cmd := process(ctx, dir, strconv.Itoa(i))
		require.NoError(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		require.NoError(t, cmd.Wait())
	}

	book := bookIn(t, filepath.Join(dir, "addresses"), crowded)
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
	for range book.subnet.Capacity() {
		take(t, book, "p/all")
	}
}

// takeAndGive keeps a few addresses at a time. Each is witnessed by a file
// that must not exist yet: two holders of one address cannot both make it.
func takeAndGive(dir, name string) error {
	book, err := New(filepath.Join(dir, "addresses"), netip.MustParsePrefix(crowded))
	if err != nil {
		return err
	}
	holding := make(map[int]string)
	for i := range perProcess + held {
		if witness, ok := holding[i-held]; ok {
			if err := os.Remove(witness); err != nil {
				return err
			}
			given, err := book.Held(owner(name, i-held))
			if err := errors.Join(err, book.Give(owner(name, i-held), given)); err != nil {
				return err
			}
		}
		if i >= perProcess {
			continue
		}
		addr, err := book.Take(context.Background(), owner(name, i))
		if err != nil {
			return err
		}
		holding[i] = filepath.Join(dir, "witness", addr.String())
		f, err := os.OpenFile(holding[i], os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("%s is taken twice: %w", addr, err)
		}
		f.Close()
	}
	return nil
}

func owner(name string, i int) string {
	return fmt.Sprintf("p%s/p%s-%d", name, name, i)
}

func TestCrashReleasesTheLockAndItsAddressCanBeGivenBack(t *testing.T) {
	dir := t.TempDir()
	require.Error(t, process(t.Context(), dir, "crash").Run())

	book := bookIn(t, dir, "10.9.0.0/30")
	give(t, book, "p/crashed")
	require.Equal(t, "10.9.0.2", take(t, book, "p/a"))
}

// crash dies after Take, holding the lock.
func crash(dir string) error {
	book, err := New(dir, netip.MustParsePrefix("10.9.0.0/30"))
	if err != nil {
		return err
	}
	if _, err := book.Take(context.Background(), "p/crashed"); err != nil {
		return err
	}
	if _, err := filelock.Acquire(context.Background(), filepath.Join(dir, "lock")); err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}
