//go:build linux

package qemu

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// badGuest is a job that does its machine harm. What people read of it is in
// docs/reference/faults.md.
type badGuest struct {
	what string
	// job is run as jobs are. detached goes on when its connection has ended.
	job, detached string
	// outside is done on the host.
	outside func(t *testing.T, f forks, id string)
	// reason is of the worker's end; said is in what the job prints when its machine
	// goes on, and console on the console then. They are regular expressions.
	reason, said, console string
}

// badGuests that end, or that the job itself tells of.
var badGuests = []badGuest{
	{what: "kernel panic", job: "echo c | sudo tee /proc/sysrq-trigger",
		reason: `^machine is gone: kernel panic: sysrq triggered crash\nthe console says:\n` +
			`(.*\n)*.*Kernel panic - not syncing`},
	{what: "reboot", job: "sudo reboot -f", reason: `^machine is gone: the guest rebooted(\n|$)`},
	{what: "power-off", job: "sudo poweroff -f", reason: `^machine is gone: the guest powered itself off(\n|$)`},
	{what: "killed from outside", outside: func(t *testing.T, f forks, id string) { killFromOutside(t, f.tag().Value(id)) },
		reason: `^machine is gone: QEMU ended: signal: killed, by somebody on this host, or by its kernel for want of memory`},
	{what: "memory hog", job: "hogs=; for n in 1 2 3; do " +
		`dd if=/dev/zero of=/dev/null bs=300M count=1 & hogs="$hogs $!"; done; ` +
		"for hog in $hogs; do wait $hog; echo $?; done",
		said: `(?m)^137$`, console: "Out of memory: Killed process"},
	{what: "fork bomb", job: "ulimit -u 200; bash -c 'f() { f | f & }; f; sleep 600' 2>&1 | " +
		`{ read -r line; echo "$line"; kill -9 0; }`,
		said: "Resource temporarily unavailable"},
	{what: "disk filler", job: "n=0; for s in 1G 100M 10M 1M 100K 4K; do while sudo fallocate -l $s /full.$((n += 1)); do :; done; done 2>/dev/null; " +
		"sudo sh -c 'head -c 1M /dev/zero >/full'", said: "No space left on device"},
	{what: "a full /dev/shm", job: "head -c 2G /dev/zero >/dev/shm/full", said: "No space left on device"},
	{what: "clock jump", job: "sudo date -s '10 years'; date +%Y", said: `(?m)^20[3-9][0-9]$`},
	{what: "agent killed",
		job:  "sudo kill -9 $(sudo systemctl show --property MainPID --value mayfly-agent); echo killed",
		said: "^killed"},
}

// silence is how the kernel of a host may say that nothing comes back.
const silence = "(no answer within|.*(no route to host|i/o timeout))"

// silentGuests are those that nobody tells of: nothing ends, and nothing answers.
var silentGuests = []badGuest{
	{what: "no network", detached: "sudo ip link set eth0 down",
		reason: "^nobody answers in .*, 3 times in a row: SSH at .*: " + silence},
	{what: "agent stopped", detached: "sudo systemctl stop mayfly-agent", reason: "^nobody answers in .*: connection refused"},
	{what: "sshd gone", detached: "sudo chmod 0 /usr/sbin/sshd",
		reason: "^nobody answers in .*: (no SSH server answers there|.*connection reset)"},
	{what: "guest that hangs", detached: "sudo sh -c 'echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger'",
		reason: "^nobody answers in .*: " + silence +
			`.*\nlast lines of the console:\n(.*\n)*.*Kernel panic - not syncing`},
}

// addressed is all that a job knows of its machine.
type addressed struct {
	backend.Machine
	addr netip.AddrPort
}

func (a addressed) Address() netip.AddrPort { return a.addr }

// hospital is a real pool, with all that it has shown of its workers.
type hospital struct {
	forks
	pool  *pool.Pool
	store *store.Store
	log   *output.Buffer

	mu   sync.Mutex
	seen map[string]pool.Worker
}

func newHospital(t *testing.T, f forks, workers int, start, watch time.Duration) *hospital {
	t.Helper()
	records, err := store.Open(f.dir)
	require.NoError(t, err)
	h := &hospital{forks: f, store: records, log: &output.Buffer{}, seen: map[string]pool.Worker{}}
	h.pool = pool.New(pool.Config{
		Name: filepath.Base(f.dir), Recipe: testrun.Golden(t, imagesDir()), CPUs: f.size.CPUs, Memory: f.size.Memory,
		Max: workers, ConcurrentStarts: 2, StartTimeout: start, WatchInterval: watch,
	}, pool.Parts{
		Backend: f.Backend, Network: f.network, Access: access.SSH{}, Store: records,
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	require.NoError(t, h.pool.Open(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), f.patience)
		defer cancel()
		assert.NoError(t, h.pool.Close(ctx))
		machines, err := f.Find(ctx)
		assert.NoError(t, err)
		assert.Empty(t, machines)
		if t.Failed() {
			t.Log(h.log)
		}
	})
	promised, err := h.pool.Grow(workers)
	require.NoError(t, err)
	require.Equal(t, workers, promised)
	return h
}

// look asks the pool as the runner does.
func (h *hospital) look() map[string]pool.Worker {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.pool.Workers() {
		h.seen[w.ID] = w
	}
	return maps.Clone(h.seen)
}

// admit returns the workers once all of them run.
func (h *hospital) admit(t *testing.T, count int) (ids []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		ids = nil
		for id, w := range h.look() {
			if w.State == pool.Running {
				ids = append(ids, id)
			}
		}
		return len(ids) == count
	}, 2*h.patience, 100*time.Millisecond, "all run")
	return ids
}

// worker is the one that the runner would give a job to.
func (h *hospital) worker(id string) (w backendtest.Worker, err error) {
	record, err := h.store.Load(id)
	if err != nil {
		return w, err
	}
	c, err := h.pool.Connection(id)
	if err != nil {
		return w, err
	}
	identity := guest.Identity{User: c.User, HostKeyPublic: record.HostKeyPublic}
	return backendtest.Worker{Machine: addressed{addr: c.Address}, Identity: identity, Key: pool.Key(c.PrivateKey)}, nil
}

// suffers runs the job, and says whether what people read is what they should.
func (h *hospital) suffers(t *testing.T, id string, bad badGuest) error {
	w, err := h.worker(id)
	if err != nil {
		return err
	}
	printed := ""
	switch {
	case bad.outside != nil:
		bad.outside(t, h.forks, id)
	case bad.detached != "":
		_, err = w.Run("sudo setsid sh -c \"sleep 1; " + bad.detached + "\" >/dev/null 2>&1 </dev/null &")
		if err != nil {
			return err
		}
	default:
		printed, _ = w.Run(bad.job) // what it returns is in what it prints, or its connection broke
	}
	if bad.reason != "" {
		return h.ends(id, bad.reason)
	}
	if !regexp.MustCompile(bad.said).MatchString(printed) {
		return errors.New("the job printed: " + printed)
	}
	said, err := os.ReadFile(h.ConsolePath(h.store.Dir(id)))
	if err != nil || !regexp.MustCompile(bad.console).Match(said) {
		return errors.Join(err, errors.New("the console says: "+string(said)))
	}
	return h.goesOn(w, id)
}

// ends waits for the worker's end, and looks at what is said of it everywhere.
func (h *hospital) ends(id, reason string) error {
	limit := time.Now().Add(h.patience)
	for h.look()[id].State != pool.Deleted {
		if time.Now().After(limit) {
			return errors.New("it has not ended")
		}
		time.Sleep(100 * time.Millisecond)
	}
	wanted := regexp.MustCompile(reason)
	if got := h.look()[id].Reason; !wanted.MatchString(got) {
		return errors.New("the reason is: " + got)
	}
	if err := h.pool.Heartbeat(id); err == nil || !strings.Contains(err.Error(), h.look()[id].Reason) {
		return errors.Join(errors.New("the heartbeat says otherwise"), err)
	}
	ended, err := h.store.Ended()
	for _, e := range ended {
		if e.ID == id && wanted.MatchString(e.Reason) {
			return err
		}
	}
	return errors.Join(err, errors.New("its end is not kept"))
}

// goesOn wants a worker to answer still, which may take it a moment, and to go when
// it is asked to.
func (h *hospital) goesOn(w backendtest.Worker, id string) error {
	limit := time.Now().Add(h.patience)
	for {
		_, err := w.Run("true")
		if err == nil {
			break
		}
		if time.Now().After(limit) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.pool.Shrink([]string{id})
	for h.look()[id].State != pool.Deleted {
		if time.Now().After(limit) {
			return errors.New("it was not removed")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

// TestBadGuests has a real pool whose guests go wrong, each in its own way, three at
// a time. All run before the first does: workers that end early delay the next.
func TestBadGuests(t *testing.T) {
	h := newHospital(t, newForks(t, "bad"), len(badGuests), testrun.Patience(t), time.Hour)
	h.treat(t, badGuests)
}

// TestSilentGuests has guests whose machines go on.
func TestSilentGuests(t *testing.T) {
	h := newHospital(t, newForks(t, "silent"), len(silentGuests), testrun.Patience(t), 10*time.Second)
	h.treat(t, silentGuests)
}

func (h *hospital) treat(t *testing.T, bad []badGuest) {
	t.Helper()
	ids := h.admit(t, len(bad))
	errs := make([]error, len(bad))
	var all errgroup.Group
	all.SetLimit(4)
	for n := range bad {
		all.Go(func() error {
			began := time.Now()
			errs[n] = h.suffers(t, ids[n], bad[n])
			t.Logf("%s: over after %.1f s", bad[n].what, time.Since(began).Seconds())
			return nil
		})
	}
	require.NoError(t, all.Wait())
	for n, err := range errs {
		assert.NoError(t, err, bad[n].what)
	}
}

// TestGuestsThatAreNeverReady has templates that an image might lead to.
func TestGuestsThatAreNeverReady(t *testing.T) {
	for name, test := range map[string]struct{ script, reason string }{
		"nosshd": {"chmod 0 /usr/sbin/sshd",
			`^waiting for .* to be ready: SSH at .*: ` +
				`worker was not ready within the start timeout of .*; the last try: `},
		"otherkey": {"ssh-keygen -q -t ed25519 -N '' -f /root/other && mv /usr/sbin/sshd /usr/sbin/sshd.real && " +
			"printf '#!/bin/sh\\nexec /usr/sbin/sshd.real -i -h /root/other\\n' >/usr/sbin/sshd && chmod 755 /usr/sbin/sshd",
			`^waiting for .* to be ready: logging in at .*host key`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForks(t, name)
			f.alteredTemplate(t, test.script)
			h := newHospital(t, f, 1, testrun.Patience(t)/6, time.Hour)
			var id string
			require.Eventually(t, func() bool {
				for id = range h.look() {
				}
				return id != ""
			}, h.patience, 10*time.Millisecond)
			require.NoError(t, h.ends(id, test.reason))
		})
	}
}
