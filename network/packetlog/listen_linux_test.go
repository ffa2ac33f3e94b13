package packetlog

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// emptyNamespace moves the test into a network namespace of its own. Its
// thread is never unlocked, so that it ends with the test.
func emptyNamespace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("nft"); os.Geteuid() != 0 || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root and nft")
		}
		t.Skip("needs root and nft")
	}
	runtime.LockOSThread()
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	run(t, "ip", "link", "set", "lo", "up")
}

func run(t *testing.T, command ...string) {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestListenHearsWhatRulesLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	emptyNamespace(t)
	run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c udp dport 9 log group 7")
	heard := make(chan Packet, 10)
	listener, err := Listen(7, func(p Packet) { heard <- p })
	require.NoError(t, err)
	_, err = Listen(7, func(Packet) {})
	require.Error(t, err, "the group has its listener")

	for _, to := range []string{"127.0.0.1:9", "[::1]:9"} {
		conn, err := net.Dial("udp", to)
		require.NoError(t, err)
		_, err = conn.Write([]byte("anybody?"))
		require.NoError(t, err)
		conn.Close()
		select {
		case p := <-heard:
			require.Equal(t, to, p.Destination.String())
			require.Equal(t, conn.LocalAddr().String(), p.Source.String())
			require.Equal(t, "udp", p.ProtocolName())
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was heard of a packet to " + to)
		}
	}
	require.NoError(t, listener.Close())
	again, err := Listen(7, func(Packet) {})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
