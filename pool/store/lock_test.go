package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// holdLock names the pool directory that the test binary, run again, locks
// until its standard input ends.
const holdLock = "MAYFLY_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdLock); dir != "" {
		holdUntilEOF(dir)
		return
	}
	os.Exit(m.Run())
}

// noRoom has it write nothing, as on a full disk.
const noRoom = "MAYFLY_TEST_NO_ROOM"

func holdUntilEOF(dir string) {
	s, err := store.Open(dir)
	if err == nil && os.Getenv(noRoom) != "" {
		signal.Ignore(syscall.SIGXFSZ)
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{})
	}
	if err == nil {
		_, err = s.Lock(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
}

func TestLockSaysWhoHoldsIt(t *testing.T) {
	s, dir := open(t)
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdLock+"="+dir)
	stdin, err := other.StdinPipe()
	require.NoError(t, err)
	stdout, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx)
	require.ErrorIs(t, err, store.ErrHeld)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, dir)
	assert.ErrorContains(t, err, "process "+strconv.Itoa(other.Process.Pid))
	assert.ErrorContains(t, err, "plugin_config.pool")

	// The lock goes with its process, without any farewell.
	require.NoError(t, other.Process.Kill())
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	stdin.Close()
	other.Wait()
}

func TestLockWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t)
		unlock, err := s.Lock(t.Context())
		require.NoError(t, err)
		var unlocked atomic.Bool
		time.AfterFunc(time.Minute, func() {
			unlocked.Store(true)
			unlock()
		})
		again, err := s.Lock(t.Context())
		require.NoError(t, err)
		require.True(t, unlocked.Load())
		require.NoError(t, again())
	})
}

func TestLockIsNotInherited(t *testing.T) {
	s, _ := open(t)
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	child := exec.Command("sleep", "600")
	require.NoError(t, child.Start())
	defer func() { child.Process.Kill(); child.Wait() }()
	require.NoError(t, unlock())

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unlock, err = s.Lock(ctx)
	require.NoError(t, err, "a child of the owner must not keep the pool")
	require.NoError(t, unlock())
}

// The workers that another process left may be what fills the disk.
func TestLockNeedsNoRoom(t *testing.T) {
	_, dir := open(t)
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdLock+"="+dir, noRoom+"=yes")
	said, err := other.Output() // its standard input ends at once
	require.NoError(t, err)
	require.Equal(t, "locked\n", string(said))
	text, err := os.ReadFile(filepath.Join(dir, store.LockFile))
	require.NoError(t, err)
	require.Empty(t, text)
}

func TestWhatStandsInTheLocksPlaceIsNamed(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink("elsewhere", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		s, dir := open(t)
		path := filepath.Join(dir, store.LockFile)
		require.NoError(t, plant(path))
		_, err := s.Lock(t.Context())
		require.ErrorContains(t, err, path+" is a "+name)
		require.ErrorContains(t, err, "remove it")
		require.NoFileExists(t, filepath.Join(dir, "elsewhere"))
	}
}

// Whichever path leads to a pool, it is one pool.
func TestLockIsTheSameByAnotherPath(t *testing.T) {
	s, dir := open(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	defer unlock()
	other, err := store.Open(link)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = other.Lock(ctx)
	require.ErrorIs(t, err, store.ErrHeld)
}
