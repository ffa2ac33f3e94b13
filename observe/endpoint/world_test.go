package endpoint

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/metrics"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// token is the one that clients show.
const token = "a token of the tests"

// hostile is what a guest may call its job, and errorOf a worker's end.
const hostile = `<img src=x onerror="document.title='owned'">&amp; <b>bold</b>`

// digest is that of the image that all workers of the world are made from.
const digest = "8d2f6c1b7a9e4035d1c8b6a7f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5"

// leases is a network that counts what it denies.
type leases struct {
	network.None
	denied map[string]uint64
}

func (l leases) Denied(context.Context) (map[string]uint64, error) { return l.denied, nil }

// oneImage is a cache with the image of the world.
type oneImage struct{ host.Images }

func (oneImage) Get(wanted string) (image.Golden, bool, error) {
	return image.Golden{Manifest: image.Manifest{
		Digest: digest, BuiltAt: time.Now().Add(-30 * time.Hour), Files: map[string]int64{"disk": 3 << 30},
	}}, wanted == digest, nil
}

// world is a host with a state directory, and no process that serves a pool of it.
type world struct {
	t      testing.TB
	config config.Config
	host   *host.Host
	leases leases
}

func newWorld(t testing.TB) *world {
	dir, err := os.MkdirTemp("", "mayfly-") // a short path, for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	c, err := config.Parse(fmt.Appendf(nil, `{"backend": "synthetic", "state_dir": %q,
		"metrics": {"listen": "%s/metrics.sock"}}`, dir, dir))
	require.NoError(t, err)
	w := &world{t: t, config: c, leases: leases{denied: make(map[string]uint64)}}
	w.host = &host.Host{
		Backends:      []host.Builder{{Name: config.BackendSynthetic, Build: w.assemble}},
		Images:        func(string) host.Images { return oneImage{} },
		AddressOwners: func(config.Config) ([]string, error) { return nil, nil },
	}
	return w
}

func (w *world) assemble(config.Config, *slog.Logger) (host.Assembly, error) {
	return host.Assembly{Backend: synthetic.New(synthetic.Options{}), Network: w.leases}, nil
}

// pool is a pool of the world.
type pool struct {
	*world
	name    string
	records *store.Store
	ledger  *ledger.Ledger
}

func (w *world) pool(name string) *pool {
	c := w.config
	c.Pool = name
	records, err := store.Open(c.PoolDir())
	require.NoError(w.t, err)
	require.NoError(w.t, records.SaveOpened(store.Opened{Backend: "qemu", MaxWorkers: 20, At: time.Now()}))
	book, err := ledger.Open(filepath.Join(c.PoolDir(), ledger.Dir))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, book.Close()) })
	return &pool{w, name, records, book}
}

// key ends the id of a worker: six times the same letter, and a number.
func key(letter string, n int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz"
	return strings.Repeat(letter, 6) + string(digits[n/26]) + string(digits[n%26])
}

// life writes a worker's life into the ledger, one event after the other.
type life struct {
	*pool
	id string
	at time.Time
}

// worker is one whose directory is there, and which was asked for so long ago.
func (p *pool) worker(id string, began time.Duration) *life {
	l := &life{p, p.name + "-" + id, time.Now().Add(-began)}
	_, err := p.records.Reserve(l.id)
	require.NoError(p.t, err)
	return l
}

func (l *life) write(e ledger.Event) *life {
	l.t.Helper()
	e.Worker, e.At = l.id, l.at
	require.NoError(l.t, l.ledger.Write(e))
	return l
}

func (l *life) after(d time.Duration) *life { l.at = l.at.Add(d); return l }

func (l *life) promised() *life { return l.write(ledger.Event{Kind: ledger.Promised}) }

func (l *life) enters(phase string) *life {
	return l.write(ledger.Event{Kind: ledger.Entered, Phase: phase})
}

func (l *life) waits(reason string) *life {
	return l.write(ledger.Event{Kind: ledger.Waits, Reason: reason})
}

// starts goes through a start that takes scale times as long as the shortest.
func (l *life) starts(scale float64) *life {
	l.enters("wait_image")
	for _, phase := range []struct {
		next string
		ms   float64
	}{
		{"wait_template", 1}, {"wait_budget", 2}, {"wait_start", 40}, {"lease", 60}, {"start", 55},
	} {
		l.after(time.Duration(phase.ms * scale * float64(time.Millisecond))).enters(phase.next)
	}
	l.after(time.Duration(30*scale) * time.Millisecond).write(ledger.Event{Kind: ledger.Passed, Phase: "start.disk"})
	l.after(time.Duration(120*scale) * time.Millisecond).
		write(ledger.Event{Kind: ledger.Passed, Phase: "start.restore"})
	l.enters("ready").after(time.Duration(90*scale) * time.Millisecond)
	return l.write(ledger.Event{Kind: ledger.Ready, Phase: "run", How: "fork", Image: digest})
}

func (l *life) job(id int64, name string) *life {
	return l.write(ledger.Event{Kind: ledger.Worked, Job: &ledger.Job{ID: id, Project: "group/app", Name: name}})
}

func (l *life) ends(kind ledger.Kind, reason string) *life {
	return l.write(ledger.Event{Kind: kind, Phase: "teardown", Reason: reason})
}

// gone ends the life, and removes its directory.
func (l *life) gone() {
	l.write(ledger.Event{Kind: ledger.Used, Usage: &ledger.Usage{
		CPUSeconds: 42.5, PeakMemory: 900 << 20, BytesIn: 120 << 20, BytesOut: 3 << 20,
		DiskWritten: 700 << 20, Denied: 7, DeniedTo: []ledger.Denied{{Protocol: "tcp", To: "10.0.0.5:5432", Packets: 7}},
	}})
	l.after(150 * time.Millisecond).write(ledger.Event{Kind: ledger.Gone})
	require.NoError(l.t, l.records.Remove(l.id))
}

// twenty are workers in all states, and some that are gone. It returns the id of one whose
// job has a hostile name.
func (w *world) twenty() (hostileID string) {
	builds, docker := w.pool("builds"), w.pool("docker")
	for i := range 60 {
		p, id := builds, key("a", i)
		if i%4 == 3 {
			p = docker
		}
		began := time.Duration(60-i) * 25 * time.Second
		l := p.worker(id, began).promised().starts(1 + float64((i*7)%11)/4)
		l.after(2*time.Second).job(int64(9000+i), "test "+id).after(time.Duration(10+i%40) * time.Second)
		l.ends(ledger.Ended, "deleted on request").gone()
	}
	// Twenty that live.
	for i := range 5 {
		id := key("c", i)
		l := builds.worker(id, time.Duration(3+2*i)*time.Minute).promised().starts(1.5)
		names := []string{"unit tests", "lint", "build: [amd64]", "deploy", hostile}
		l.after(3*time.Second).job(int64(7000+i), names[i])
		w.leases.denied[l.id] = uint64(3 * i)
		hostileID = l.id
	}
	builds.worker(key("d", 0), time.Minute).promised().starts(1)
	builds.worker(key("e", 1), 40*time.Second).promised().enters("wait_image").
		waits("the image is being built: installing packages")
	builds.worker(key("e", 2), 30*time.Second).promised().enters("wait_image").
		after(time.Second).enters("wait_template")
	for i := range 2 {
		builds.worker(key("e", 10+i), 45*time.Second).promised().enters("wait_image").
			after(time.Millisecond).enters("wait_budget").
			waits("28.4 of 30.0 GiB of memory are held, and it takes 2.1 GiB")
	}
	builds.worker(key("e", 3), 5*time.Second).promised().enters("wait_image").
		after(time.Millisecond).enters("wait_start")
	docker.worker(key("e", 5), 8*time.Second).promised().enters("wait_image").after(time.Millisecond).enters("start")
	docker.worker(key("e", 6), 95*time.Second).promised().enters("wait_image").after(time.Millisecond).
		enters("start").after(time.Second).enters("ready").waits("SSH does not answer: connection refused")
	docker.worker(key("f", 1), 10*time.Minute).promised().starts(1).after(time.Minute).enters("suspend").
		after(2 * time.Second).enters("suspended")
	docker.worker(key("f", 2), 3*time.Second).promised().starts(1).after(time.Second).enters("suspend")
	docker.worker(key("f", 3), 6*time.Minute).promised().starts(1).after(time.Second).enters("suspend").
		after(time.Second).enters("suspended").after(5*time.Minute + 50*time.Second).enters("resume")
	docker.worker(key("x", 1), 4*time.Minute).promised().starts(1).after(time.Second).job(4711, "integration").
		after(3*time.Minute+50*time.Second).ends(ledger.Failed, "the machine ended: signal: killed")
	docker.worker(key("x", 2), time.Minute).promised().starts(1).after(50*time.Second).
		ends(ledger.Ended, "deleted on request")
	docker.worker(key("s", 1), 2*time.Minute).write(ledger.Event{Kind: ledger.Stocked})
	docker.worker(key("t", 1), 20*time.Second).write(ledger.Event{Kind: ledger.Canary}).enters("start")

	console := filepath.Join(w.t.TempDir(), "console")
	said := []string{"[    0.81] systemd[1]: Started ssh.service.",
		"[    1.20] sshd: no hostkeys available -- exiting.",
		"[    1.21] \x1b]0;owned\x07" + hostile, "[    1.30] Kernel panic - not syncing: Attempted to kill init!"}
	require.NoError(w.t, os.WriteFile(console, []byte(strings.Join(said, "\n")+"\n"), 0o600))
	for i, reason := range []string{
		"worker was not ready within the start timeout of 2m0s: connection refused",
		"the machine ended: signal: killed " + hostile,
	} {
		now := time.Now()
		ended := store.Ended{ID: "docker-" + key("b", i), Reason: reason + "\nand more", How: "fork",
			CreatedAt: now.Add(-9 * time.Minute), EndedAt: now.Add(-time.Duration(7-i) * time.Minute)}
		require.NoError(w.t, docker.records.KeepEnd(ended, console))
	}
	require.NoError(w.t, builds.records.SaveServed(store.Served{
		ImageDigest: digest, Edition: "2026-11-29T04:00:00Z", Since: time.Now().Add(-29 * time.Hour),
		Failed: &store.FailedRenewal{Edition: "2026-11-30T04:00:00Z", Failures: 3, Reason: "apt-get: 404 Not Found",
			At: time.Now().Add(-time.Hour), NextTry: time.Now().Add(time.Hour)},
	}))
	return hostileID
}

// serve serves the world on a port of the loopback until the test ends, and returns its URL.
func (w *world) serve() (url string) {
	collector := metrics.New("test <host>")
	watch := observe.NewWatch(w.host, w.config, slog.New(slog.DiscardHandler), collector)
	collector.ReadFrom(watch.Look)
	registry, err := metrics.Registry(collector)
	require.NoError(w.t, err)
	_, err = watch.Look(w.t.Context())
	require.NoError(w.t, err)
	listener, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serveOn(ctx, listener, handler(watch, registry, token), slog.New(slog.DiscardHandler))
	}()
	w.t.Cleanup(func() { cancel(); require.NoError(w.t, <-ended) })
	return "http://" + listener.Addr().String()
}

// get asks with the token, or without where it is empty.
func get(t testing.TB, client *http.Client, url, token string) (status int, body string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text), answer.Header
}
