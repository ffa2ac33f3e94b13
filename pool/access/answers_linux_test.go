package access

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve has whoever connects be told something, and returns the address. The
// connections stay open until the test ends.
func serve(t *testing.T, said string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { conn.Close() })
			fmt.Fprint(conn, said)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func TestWhoAnswers(t *testing.T) {
	require.NoError(t, SSH{}.Answers(t.Context(), serve(t, "SSH-2.0-OpenSSH_9.2\r\n")))
	require.NoError(t, SSH{}.Answers(t.Context(), serve(t, "hello\r\nSSH-2.0-x\r\n")))

	silent := errors.New("no answer in time")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, silent)
	defer cancel()
	require.ErrorIs(t, SSH{}.Answers(ctx, serve(t, "")), silent)

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	gone := listener.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, listener.Close())
	require.ErrorContains(t, SSH{}.Answers(t.Context(), gone), "connection refused")
}

// A worker with a job is the job's.
func TestWhoIsConnectedIsNotDisturbed(t *testing.T) {
	addr := serve(t, "no SSH server\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, SSH{}.Answers(ctx, addr))
	job, err := net.Dial("tcp4", addr.String())
	require.NoError(t, err)
	defer job.Close()
	require.NoError(t, SSH{}.Answers(t.Context(), addr))
}

// A connection in which the guest's kernel acknowledges nothing any more does not
// keep its worker.
func TestADeadConnectionDoesNotCount(t *testing.T) {
	to := netip.MustParseAddrPort("10.210.0.2:22")
	address := to.Addr().As4()
	end := fmt.Sprintf("%08X:0016", binary.NativeEndian.Uint32(address[:]))
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(state, again string) string {
		return "   0: 0100D20A:C350 " + end + " " + state + " 00000024:00000000 01:00000014 " + again + "     0        0 4711 1\n"
	}
	for table, open := range map[string]bool{
		"":                                     false,
		head:                                   false,
		head + row("01", "00000000"):           true,
		head + row("01", "00000006"):           true,
		head + row("01", "00000007"):           false,
		head + row("02", "00000000"):           false,
		row("01", "0000000F") + row("01", "0"): true,
		"01 " + end:                            false,
	} {
		require.Equal(t, open, established(strings.NewReader(table))[entry(to)], table)
	}
}
