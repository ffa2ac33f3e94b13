//go:build linux

package packetlog

import (
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func run(t *testing.T, command ...string) {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestListenHearsWhatRulesLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	sandbox.EmptyNamespace(t, "nft", "ip")
	run(t, "ip", "link", "set", "lo", "up")
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
		case <-time.After(time.Minute):
			t.Fatal("nothing was heard of a packet to " + to)
		}
	}
	require.NoError(t, listener.Close())
	again, err := Listen(7, func(Packet) {})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
