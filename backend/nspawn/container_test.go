//go:build linux

package nspawn

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
)

// patience bounds what containers do on a busy host.
const patience = time.Minute

// start starts a worker as the pool does, and ends it when the test does.
func (p *pool) start(t *testing.T, recipe image.Recipe, end string) backendtest.Worker {
	t.Helper()
	golden, err := p.Build(t.Context(), recipe, func(string, string) {})
	require.NoError(t, err)
	return p.startFrom(t, golden, end)
}

// startFrom is start from an image that a test may have changed.
func (p *pool) startFrom(t *testing.T, golden image.Golden, end string) backendtest.Worker {
	t.Helper()
	w, err := p.tryFrom(t, golden, end)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, w.Ready(ctx))
	return w
}

// tryFrom is startFrom for a container that may not come up.
func (p *pool) tryFrom(t *testing.T, golden image.Golden, end string) (backendtest.Worker, error) {
	t.Helper()
	id := p.name + "-" + end
	dir := filepath.Join(p.dir, "workers", id)
	require.NoError(t, p.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.network.Close(context.Background())) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, errors.Join(p.again().Destroy(ctx, id), p.network.Release(ctx, id), os.RemoveAll(dir)))
	})
	lease, err := p.network.Acquire(t.Context(), id)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return backendtest.Start(ctx, t, p.Backend, golden, backend.Spec{
		ID: id, Dir: dir, Size: backend.Size{CPUs: 1, Memory: 256 << 20}, Lease: lease,
	})
}

func TestContainersAreApartFromEachOtherAndFromTheHost(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "apart")
	one, other := p.start(t, recipe, "aaaaaaaa"), p.start(t, recipe, "bbbbbbbb")

	// Root inside is nobody outside.
	require.Regexp(t, `^0 2103836672 65536$`, strings.Join(strings.Fields(one.Output(t, "cat /proc/1/uid_map")), " "))
	one.Output(t, "sudo touch /written /etc/written")
	_, err := other.Run("test -e /written || test -e /etc/written")
	require.Error(t, err)
	// Neither processes nor mounts nor names of others show.
	other.Output(t, "(sleep 12345 >/dev/null 2>&1 &)")
	require.NotContains(t, one.Output(t, "ps -ef"), "sleep 12345")
	require.Equal(t, "apart-aaaaaaaa\n", one.Output(t, "hostname"))
	require.NotContains(t, one.Output(t, "cat /proc/mounts"), "apart-bbbbbbbb")
	for _, forbidden := range []string{
		"echo 1 >/proc/sys/kernel/sysrq", "mknod /root/disk b 8 0", "date -s @0", "dmesg -C",
	} {
		out, err := one.Run("sudo sh -c '" + forbidden + "'")
		require.Error(t, err, "%s: %s", forbidden, out)
	}
	reach := "timeout 3 bash -c '</dev/tcp/" + other.Address().Addr().String() + "/22'"
	_, err = one.Run(reach)
	require.Error(t, err, "one worker must not reach the other")

	// A link of one's own, with all rights on it, and no way to lie with it.
	connection, err := net.DialTimeout("tcp", one.Address().String(), patience)
	require.NoError(t, err)
	require.NoError(t, connection.Close())
	one.Output(t, "sudo ip link add spare type veth peer name other && sudo ip address add 198.18.0.3/32 dev eth0")
	_, err = one.Run("ping -c1 -W1 198.18.0.1 || curl -s -m 2 --interface 198.18.0.3 http://198.18.0.1:53")
	require.Error(t, err)
}

func TestMemoryAndProcessesAreLimited(t *testing.T) {
	if lacking := process.CheckGroups(t.Context()); lacking.Level != doctor.OK {
		t.Skip(lacking)
	}
	p, recipe := newPool(t, ext4Dir, "limits")
	w := p.start(t, recipe, "aaaaaaaa")
	out, err := w.Run("head -c 400M /dev/zero | tail >/dev/null")
	require.Error(t, err, "256 MiB hold no 400: %s", out)
	require.NoError(t, w.Err(), "the container itself goes on")
	w.Output(t, "true")
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	for name, dir := range fileSystems {
		t.Run(name, func(t *testing.T) {
			p, recipe := newPool(t, dir, "killed")
			w := p.start(t, recipe, "aaaaaaaa")
			// Without that type systemd-run is back before the process is one that sleeps.
			w.Output(t, "sudo systemd-run --quiet --property=Type=exec sleep 54321")
			killSupervisor(t, p.Backend, w.ID())
			<-w.Done()
			require.NotEmpty(t, sleepers(t), "the container outlives its supervisor")

			next := p.again()
			found, err := next.Find(t.Context())
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.Equal(t, w.ID(), found[0].ID())
			require.ErrorIs(t, found[0].Err(), guest.ErrGone)
			require.NoError(t, next.Destroy(t.Context(), w.ID()))
			require.Empty(t, sleepers(t))
			groups, err := next.units.Find()
			require.NoError(t, err)
			require.Empty(t, groups)
		})
	}
}

// sleepers are processes of the host that a test's job has left.
func sleepers(t *testing.T) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte("sleep\x0054321")) {
			found = append(found, path)
		}
	}
	return found
}

// TestTheReasonOfAnEndIsWhatTheGuestDid has containers whose jobs end them. The
// last makes its first process the one that the kernel kills when memory runs out.
func TestTheReasonOfAnEndIsWhatTheGuestDid(t *testing.T) {
	if lacking := process.CheckGroups(t.Context()); lacking.Level != doctor.OK {
		t.Skip(lacking)
	}
	p, recipe := newPool(t, btrfsDir, "ends")
	for i, test := range []struct{ job, reason string }{
		{"sudo poweroff -f", "the guest powered itself off"},
		{"sudo reboot -f", "the guest rebooted"},
		{"sudo sh -c 'echo 1000 >/proc/1/oom_score_adj; head -c 400M /dev/zero | tail'",
			"out of its memory limit of 256 MiB"},
	} {
		w := p.start(t, recipe, strings.Repeat(string(rune('a'+i)), 8))
		_, _ = w.Run(test.job) // the connection may end first
		select {
		case <-w.Done():
		case <-time.After(patience):
			require.Fail(t, "still there", test.job)
		}
		require.ErrorIs(t, w.Err(), guest.ErrGone)
		require.ErrorIs(t, w.Err(), guest.ErrFault)
		require.ErrorContains(t, w.Err(), test.reason)
	}
}

func TestContainerThatCannotStartSaysWhy(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "broken")
	require.NoError(t, os.MkdirAll(filepath.Join(stateDir, "empty", "root/etc"), 0o755))
	passwd := filepath.Join(stateDir, "empty", "root/etc/passwd")
	require.NoError(t, os.WriteFile(passwd, []byte("mayfly:x:1:1::/home/mayfly:/bin/sh\n"), 0o644))
	empty := image.Golden{Dir: filepath.Join(stateDir, "empty"), Manifest: image.Manifest{Recipe: recipe}}
	require.NoError(t, makeDisk(t.Context(), empty))
	id := "broken-aaaaaaaa"
	dir := filepath.Join(p.dir, "workers", id)
	require.NoError(t, os.Mkdir(dir, 0o700))
	identity, _, err := access.SSH{}.New(id, "mayfly")
	require.NoError(t, err)
	spec := backend.Spec{ID: id, Dir: dir, Size: backend.Size{CPUs: 1, Memory: 256 << 20}, Identity: identity}
	_, err = p.Start(t.Context(), empty, spec)
	require.ErrorIs(t, err, guest.ErrGone)
	require.ErrorContains(t, err, "OS root directory", "what systemd-nspawn says of it")
	require.NoError(t, p.Destroy(t.Context(), id))
	require.NoError(t, os.RemoveAll(dir))
	requireNothingLeft(t, p)
	identity.User = "nobody-knows"
	require.ErrorContains(t, writeIdentity(t.TempDir(), empty, identity, nil), "nobody-knows")
}
