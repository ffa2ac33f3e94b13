//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestMain(m *testing.M) {
	beginWithAKey()
	goleak.VerifyTestMain(m)
}

// sessionKey is the name of a key in the session keyring that this process began with;
// empty where there are no keyrings.
var sessionKey = os.Getenv(sessionKeyVariable)

const sessionKeyVariable = "MAYFLY_TEST_SESSION_KEY"

// beginWithAKey has this process begin anew with a key in its session keyring: a
// keyring that is joined later is one thread's.
func beginWithAKey() {
	if sessionKey != "" {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		return
	}
	const name = "mayfly-test"
	if _, err := unix.AddKey("user", name, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		return
	}
	panic(syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), sessionKeyVariable+"="+name)))
}

func start(t *testing.T, script string, files ...*os.File) (p *Process, output string) {
	t.Helper()
	output = filepath.Join(t.TempDir(), "output")
	p, err := Start(Command{Path: "/bin/sh", Arguments: []string{"-c", script}, Files: files, Output: output})
	require.NoError(t, err)
	t.Cleanup(func() { kill(t, p) })
	return p, output
}

func kill(t *testing.T, p *Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, p.Kill(ctx))
}

func TestEndIsSeenWithItsReason(t *testing.T) {
	heard, tell, err := os.Pipe()
	require.NoError(t, err)
	p, output := start(t, "echo hello; read end <&3; exit 3", heard)
	require.NoError(t, heard.Close())
	require.NoError(t, p.Err())
	require.True(t, p.Running())
	require.NoError(t, tell.Close())
	<-p.Done()
	require.ErrorContains(t, p.Err(), "exit status 3")
	text, err := os.ReadFile(output)
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(text))
	require.False(t, p.Running())
	kill(t, p) // of one that has ended
}

func TestChildHasASessionOfItsOwn(t *testing.T) {
	p, _ := start(t, "sleep 60")
	session, err := unix.Getsid(p.PID)
	require.NoError(t, err)
	require.Equal(t, p.PID, session)
}

func TestChildInheritsFiles(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	p, _ := start(t, "echo passed >&3", write)
	require.NoError(t, write.Close())
	text := make([]byte, 16)
	n, err := read.Read(text)
	require.NoError(t, err)
	require.Equal(t, "passed\n", string(text[:n]))
	<-p.Done()
}

func TestAnotherProcessWithThePidIsNotOurs(t *testing.T) {
	self, err := Identify(os.Getpid())
	require.NoError(t, err)
	require.True(t, self.Running())
	for name, other := range map[string]Identity{
		"started later": {self.PID, self.StartTime + 1, self.BootID},
		"before a boot": {self.PID, self.StartTime, "00000000-0000-0000-0000-000000000000"},
	} {
		require.False(t, other.Running(), name)
		_, err := Adopt(other)
		require.ErrorIs(t, err, ErrNotRunning, name)
	}
}

func TestFindThenAdoptThenKill(t *testing.T) {
	const tag = "mayfly-process-test-tag"
	said, say, err := os.Pipe()
	require.NoError(t, err)
	defer said.Close()
	heard, tell, err := os.Pipe()
	require.NoError(t, err)
	defer tell.Close()
	p, _ := start(t, "echo runs >&3; read end <&4; : "+tag, say, heard) // no child of its own, which would be found too
	require.NoError(t, errors.Join(say.Close(), heard.Close()))
	_, err = said.Read(make([]byte, 16)) // just after it is started, the kernel shows no arguments of it
	require.NoError(t, err)
	found, err := Find(func(arguments []string) bool {
		return len(arguments) == 3 && strings.HasSuffix(arguments[2], tag)
	})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found, p.Identity)

	adopted, err := Adopt(p.Identity)
	require.NoError(t, err)
	require.NoError(t, adopted.Err())
	kill(t, adopted)
	<-p.Done()
	require.Error(t, adopted.Err())
	require.Error(t, p.Err())
}

func TestNameWithBracketsAndSpacesIsRead(t *testing.T) {
	program := filepath.Join(t.TempDir(), "a) R (b")
	shell, err := os.ReadFile("/bin/sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, shell, 0o700))
	p, err := Start(Command{Path: program, Arguments: []string{"-c", "kill -STOP $$"}, Output: os.DevNull})
	require.NoError(t, err)
	require.NotZero(t, p.StartTime)
	kill(t, p)
}

func TestMissingProgramAndNamespaceAreNamed(t *testing.T) {
	_, err := Start(Command{Path: "/nowhere/qemu", Output: os.DevNull})
	require.ErrorContains(t, err, "/nowhere/qemu")
	_, err = Start(Command{Path: "/bin/true", Namespace: "/nowhere/netns", Output: os.DevNull})
	require.ErrorContains(t, err, "/nowhere/netns")
}

// TestStartInANamespaceLeavesNoThreadThere also starts from the main thread,
// which Go never ends.
func TestStartInANamespaceLeavesNoThreadThere(t *testing.T) {
	need.Root(t)
	holder := exec.Command("sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	require.NoError(t, holder.Start())
	t.Cleanup(func() { _, _ = holder.Process.Kill(), holder.Wait() })
	foreign := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	want, err := os.Readlink(foreign)
	require.NoError(t, err)

	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			output := filepath.Join(t.TempDir(), "output")
			p, err := Start(Command{
				Path: "/bin/sh", Arguments: []string{"-c", "readlink /proc/self/ns/net; sleep 0.5"},
				Namespace: foreign, Output: output,
			})
			if !assert.NoError(t, err) {
				return
			}
			<-p.Done()
			text, err := os.ReadFile(output)
			assert.NoError(t, err)
			assert.Equal(t, want+"\n", string(text), "the child is in the namespace")
		})
	}
	all.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	require.NoError(t, err)
	require.NotEmpty(t, threads)
	for _, thread := range threads {
		if got, err := os.Readlink(thread); err == nil { // else it has ended
			require.NotEqual(t, want, got, "%s stayed in the namespace", thread)
		}
	}
}

func TestFindSeesNoProcessOfAnotherUser(t *testing.T) {
	need.Root(t) // who alone can start one
	const tag = "mayfly-process-foreign-tag"
	foreign := exec.Command("/bin/sh", "-c", "sleep 60; : "+tag)
	foreign.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	require.NoError(t, foreign.Start())
	t.Cleanup(func() { _, _ = foreign.Process.Kill(), foreign.Wait() })
	found, err := Find(func(arguments []string) bool {
		return len(arguments) == 3 && strings.HasSuffix(arguments[2], tag)
	})
	require.NoError(t, err)
	require.Empty(t, found)
}

// TestFindReadsNoMoreThanItNeeds has a process with arguments of 1 MiB.
func TestFindReadsNoMoreThanItNeeds(t *testing.T) {
	const tag = "mayfly-process-long-tag"
	said, say, err := os.Pipe()
	require.NoError(t, err)
	defer said.Close()
	mebibyte := slices.Repeat([]string{strings.Repeat("x", 1023)}, 1<<10)
	arguments := append([]string{"-c", "echo runs >&3; kill -STOP $$", tag}, mebibyte...)
	p, err := Start(Command{Path: "/bin/sh", Arguments: arguments, Files: []*os.File{say}, Output: os.DevNull})
	require.NoError(t, errors.Join(err, say.Close()))
	t.Cleanup(func() { kill(t, p) })
	_, err = said.Read(make([]byte, 16))
	require.NoError(t, err)
	found, err := Find(func(arguments []string) bool { return len(arguments) > 3 && arguments[3] == tag })
	require.NoError(t, err)
	got := found[p.Identity]
	require.Equal(t, append([]string{"/bin/sh"}, arguments[:len(got)-1]...), got, "whole arguments")
	require.InDelta(t, mostArguments, len(strings.Join(got, " ")), 1024)
}

func TestFindAsksAboutNoThreadOfTheKernel(t *testing.T) {
	_, err := Find(func(arguments []string) bool {
		require.NotEmpty(t, arguments)
		return false
	})
	require.NoError(t, err)
}

func TestScopeHasItsProperties(t *testing.T) {
	got := scoped(Command{Path: "/bin/true"}, "systemd-run", "mayfly-x", "MemoryMax=1", "Delegate=yes")
	require.Equal(t, []string{"--scope", "--quiet", "--collect", "--slice=mayfly.slice", "--unit=mayfly-x",
		"--description=" + description, "--property=MemoryMax=1", "--property=Delegate=yes",
		"--", "/bin/true"}, got.Arguments)
}

// Nothing here has a systemd to ask: this is what it is told.
func TestScopeIsWeighedAgainstTheDefaultOfSystemd(t *testing.T) {
	got := cpuWeight(25)
	require.Equal(t, "CPUWeight", got.Name)
	require.Equal(t, uint64(25), got.Value.Value())
	require.Equal(t, "t", got.Value.Signature().String(), "as systemd wants it")
}

func TestInputIsRead(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	output := filepath.Join(t.TempDir(), "output")
	p, err := Start(Command{Path: "/bin/cat", Input: read, Output: output})
	require.NoError(t, err)
	_, err = write.WriteString("said")
	require.NoError(t, errors.Join(err, write.Close()))
	<-p.Done()
	text, err := os.ReadFile(output)
	require.NoError(t, err)
	require.Equal(t, "said", string(text))
}

func TestScopeKeepsTheCommand(t *testing.T) {
	c := Command{Path: "/usr/bin/qemu", Arguments: []string{"-name", "x"}, Namespace: "/run/netns/x", Output: "/o"}
	got := scoped(c, "/usr/bin/systemd-run", "mayfly-x")
	require.Equal(t, "/usr/bin/systemd-run", got.Path)
	require.Equal(t, []string{"--scope", "--quiet", "--collect", "--slice=mayfly.slice", "--unit=mayfly-x",
		"--description=" + description, "--",
		"/usr/bin/qemu", "-name", "x"}, got.Arguments)
	require.Equal(t, c.Namespace, got.Namespace)
	require.Equal(t, c.Output, got.Output)
}
