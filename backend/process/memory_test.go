//go:build linux

package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// mappedFile names the file that this test binary maps when a test has started
// it for that.
const mappedFile = "MAYFLY_TEST_MAPPED_FILE"

const mapped = 64 << 20

// TestMapper is no test but the process that one of them looks at.
func TestMapper(t *testing.T) {
	path := os.Getenv(mappedFile)
	if path == "" {
		t.Skip("started by another test only")
	}
	file, err := os.Open(path)
	require.NoError(t, err)
	pages, err := unix.Mmap(int(file.Fd()), 0, mapped, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	require.NoError(t, err)
	var sum byte
	for at := 0; at < len(pages); at += os.Getpagesize() {
		sum += pages[at]
	}
	fmt.Println("mapped", sum)
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the test ends
}

// mapper is a process that has mapped the file as a fork maps its template.
func mapper(t *testing.T, path string) Identity {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMapper$")
	cmd.Env = append(os.Environ(), mappedFile+"="+path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _, _ = stdin.Close(), cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "mapped")
	id, err := Identify(cmd.Process.Pid)
	require.NoError(t, err)
	return id
}

func memory(t *testing.T, id Identity) backend.Memory {
	t.Helper()
	used, err := id.Memory()
	require.NoError(t, err)
	return used
}

func TestPagesOfAFileAreSharedOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, make([]byte, mapped), 0o600))
	one := mapper(t, path)
	alone := memory(t, one)
	assert.Greater(t, alone.Private, int64(mapped), "nobody else maps it")
	assert.GreaterOrEqual(t, alone.PSS, alone.Private)

	mapper(t, path)
	shared := memory(t, one)
	const slack = mapped / 8 // what else such a process has
	assert.InDelta(t, alone.PSS-mapped/2, shared.PSS, slack, "half of it is the other's now")
	assert.InDelta(t, alone.Private-mapped, shared.Private, slack, "and none of it is private")
}

func TestMemoryOfAProcessThatHasEnded(t *testing.T) {
	p, _ := start(t, "exit 0")
	<-p.Done()
	_, err := p.Memory()
	require.ErrorIs(t, err, ErrNotRunning)

	self, err := Identify(os.Getpid())
	require.NoError(t, err)
	self.StartTime++
	_, err = self.Memory()
	require.ErrorIs(t, err, ErrNotRunning, "another process has its pid")
}

// A plugin asks as long as its workers run.
func TestAskingForTheMemoryOfWorkersKeepsNothing(t *testing.T) {
	tag := Tag{Option: "-x", WorkersDir: t.TempDir()}
	startTagged(t, tag, "p-aaaaaaaa")
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	const times = 50
	descriptorsBefore, goroutinesBefore := descriptors(), runtime.NumGoroutine()
	for range times {
		used, err := tag.Memory()
		require.NoError(t, err)
		require.Positive(t, used["p-aaaaaaaa"].PSS)
		require.Len(t, used, 1)
	}
	require.Less(t, descriptors(), descriptorsBefore+times/2)
	require.Less(t, runtime.NumGoroutine(), goroutinesBefore+times/2)
}

func TestParseRollup(t *testing.T) {
	const text = `55d5c8a00000-7ffd2b5fe000 ---p 00000000 00:00 0                          [rollup]
Rss:              137836 kB
Pss:               98304 kB
Pss_Dirty:         60000 kB
Shared_Clean:       9000 kB
Shared_Dirty:          0 kB
Private_Clean:      1024 kB
Private_Dirty:      2048 kB
Private_Hugetlb:    4096 kB
SwapPss:               8 kB
`
	used, err := parseRollup([]byte(text))
	require.NoError(t, err)
	require.Equal(t, backend.Memory{PSS: 96 << 20, Private: 7 << 20}, used)

	for _, bad := range []string{"", "Rss: 1 kB\n", "Pss: many kB\n", "Pss: 1 MB\n"} {
		_, err := parseRollup([]byte(bad))
		require.Error(t, err, bad)
	}
}
