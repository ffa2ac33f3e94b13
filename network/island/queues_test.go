//go:build linux

package island

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// attach attaches one queue to a lease's tap device, as a machine does that asks for
// several queues or for one.
func attach(t *testing.T, lease network.Lease, several bool) error {
	t.Helper()
	return Do(lease.Namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), network.TAP)
		t.Cleanup(func() { _ = file.Close() })
		request, err := unix.NewIfreq(network.TAP)
		if err != nil {
			return err
		}
		flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if several {
			flags |= unix.IFF_MULTI_QUEUE
		}
		request.SetUint16(flags)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	})
}

// TestALeaseHasTheQueuesThatItIsToHave attaches to each kind of device, also after the
// lease was parked: a machine of before fits no other kind.
func TestALeaseHasTheQueuesThatItIsToHave(t *testing.T) {
	newInternet(t)
	o := testOptions(t, "p")
	o.Queues, o.Bandwidth = 2, 100e6
	island := openIsland(t, o)
	lease := acquire(t, island, "p-aaaaaaaa")
	require.Equal(t, 2, lease.Queues)
	require.ErrorIs(t, attach(t, lease, false), unix.EINVAL)
	for range o.Queues {
		require.NoError(t, attach(t, lease, true))
	}
	for _, queues := range []int{0, 2} {
		require.NoError(t, island.Park(t.Context(), "p-aaaaaaaa"))
		again, err := island.Unpark(t.Context(), "p-aaaaaaaa", queues)
		require.NoError(t, err)
		require.Equal(t, queues, again.Queues)
		require.ErrorIs(t, attach(t, again, queues < 2), unix.EINVAL)
		require.NoError(t, attach(t, again, queues > 1))
	}
	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))

	for cpus, want := range map[int]int{0: 1, 1: 1, 2: 2, 8: 8, 64: network.MostQueues} {
		require.Equal(t, want, network.Queues(cpus))
	}
}

// TestACutLeaseLetsNothingThrough in either direction, until it is connected, and as
// often as one likes.
func TestACutLeaseLetsNothingThrough(t *testing.T) {
	internet := newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	serve(t, internet, isp+":80")
	reach := func(wait time.Duration) (in, out error) {
		_, in = ask(hostNamespace, "tcp", lease.SSH().String(), wait)
		_, out = ask(guest, "tcp", isp+":80", wait)
		return in, out
	}
	in, out := reach(patience)
	require.NoError(t, in)
	require.NoError(t, out)
	for range 2 {
		require.NoError(t, island.CutOff(t.Context(), lease.Worker))
		in, out = reach(200 * time.Millisecond)
		require.ErrorContains(t, in, "i/o timeout")
		require.ErrorContains(t, out, "i/o timeout")
		for range 2 {
			require.NoError(t, island.Connect(t.Context(), lease.Worker))
		}
		in, out = reach(patience)
		require.NoError(t, in)
		require.NoError(t, out)
	}
	require.Error(t, island.CutOff(t.Context(), "p-bbbbbbbb"), "it has no lease")
}

func TestAnIsolatedLeaseAnswersTheHostOnly(t *testing.T) {
	internet := newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	serve(t, internet, isp+":80")
	_, err := ask(guest, "tcp", isp+":80", patience)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, island.Isolate(t.Context(), lease.Worker))
		_, err = ask(hostNamespace, "tcp", lease.SSH().String(), patience)
		require.NoError(t, err, "the host gets in")
		_, err = ask(guest, "tcp", isp+":80", patience)
		require.ErrorContains(t, err, "refused")
	}
	require.Error(t, island.Isolate(t.Context(), "p-bbbbbbbb"), "it has no lease")
}
