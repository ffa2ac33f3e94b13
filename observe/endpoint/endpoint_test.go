package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is one that keeps no connection open, which would outlive its test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func TestMetricsOfAllPools(t *testing.T) {
	w := newWorld(t)
	w.twenty()
	url := w.serve()
	late := w.pool("builds").worker("aaaaaazz", time.Second).promised().starts(2).after(time.Second).
		job(1, hostile).after(200*time.Millisecond).job(2, "second").after(300 * time.Millisecond)
	late.ends(ledger.Failed, "it crashed").gone()

	body := scraped(t, url, `mayfly_failures_total{host="test <host>",phase="run",pool="builds"} 1`)
	for _, line := range []string{
		`fleeting_provisioner_instances{host="test <host>",pool="builds",state="creating"} 5`,
		`fleeting_provisioner_instances{host="test <host>",pool="docker",state="suspended"} 1`,
		`fleeting_provisioner_max_instances{host="test <host>",pool="builds"} 20`,
		`mayfly_workers{host="test <host>",pool="docker",state="canary"} 1`,
		`mayfly_workers_in_phase{host="test <host>",phase="wait_budget",pool="builds"} 2`,
		`mayfly_image_renewal_failures{host="test <host>",pool="builds"} 3`,
		`mayfly_problems{host="test <host>",kind="renewal"} 1`,
		// What happened since it is served:
		`fleeting_provisioner_instance_operations_total{host="test <host>",operation="create",pool="builds"} 1`,
		`fleeting_provisioner_instance_operations_total{host="test <host>",operation="delete",pool="builds"} 1`,
		`fleeting_provisioner_instance_creation_time_seconds_count{host="test <host>",pool="builds"} 1`,
		`fleeting_provisioner_instance_life_duration_seconds_count{host="test <host>",pool="builds"} 1`,
		`mayfly_starts_total{host="test <host>",how="fork",pool="builds"} 1`,
		`mayfly_phase_seconds_count{host="test <host>",phase="lease",pool="builds"} 1`,
		`mayfly_phase_seconds_sum{host="test <host>",phase="start",pool="builds"} 0.3`,
		`mayfly_phase_part_seconds_sum{host="test <host>",part="restore",phase="start",pool="builds"} 0.24`,
		`mayfly_failures_total{host="test <host>",phase="run",pool="builds"} 1`,
		`mayfly_jobs_total{host="test <host>",pool="builds"} 2`,
		`mayfly_job_seconds_count{host="test <host>",pool="builds"} 2`,
		`mayfly_job_seconds_sum{host="test <host>",pool="builds"} 0.5`,
		`mayfly_cpu_seconds_total{host="test <host>",pool="builds"} 42.5`,
		`mayfly_denied_packets_total{host="test <host>",pool="builds"} 7`,
	} {
		assert.Contains(t, body, line+"\n")
	}
	assert.NotContains(t, body, "document.title", "a job's name is in no metric")

	w.leases.denied["builds-"+key("c", 1)] += 5
	body = scraped(t, url, `mayfly_denied_packets_total{host="test <host>",pool="builds"} 12`)

	need.Programs(t, "promtool")
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(body)
	out, err := check.CombinedOutput()
	require.NoError(t, err, string(out))
}

// scraped is what Prometheus gets, once there is a line in it.
func scraped(t *testing.T, url, line string) (body string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, text, header := get(t, client, url+"/metrics", token)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, header.Get("Content-Type"), "text/plain")
		body = text
		return strings.Contains(text, line+"\n")
	}, patience, 100*time.Millisecond, line)
	return body
}

func TestProblemsAreJSON(t *testing.T) {
	w := newWorld(t)
	w.twenty()
	url := w.serve()
	status, body, header := get(t, client, url+"/problems", token)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, "application/json", header.Get("Content-Type"))
	var problems []observe.Problem
	require.NoError(t, json.Unmarshal([]byte(body), &problems))
	texts := make(map[string]string)
	for _, problem := range problems {
		texts[problem.Kind+" "+problem.Pool+" "+problem.Worker] = problem.Text
	}
	for what, text := range map[string]string{
		"slow builds builds-" + key("e", 1):    "it is in wait_image for longer than usual: the image is being built",
		"slow builds builds-" + key("e", 2):    "it is in wait_template for longer than usual",
		"slow builds builds-" + key("e", 10):   "it and 1 more are in wait_budget for longer than usual: 28.4 of 30.0",
		"slow docker docker-" + key("e", 6):    "it is in ready for longer than usual: SSH does not answer",
		"failing docker docker-" + key("b", 1): "2 workers ended unasked within the last hour, the last one: the machine",
		"renewal builds ":                      "apt-get: 404 Not Found",
	} {
		assert.Contains(t, texts[what], text, what)
	}
	for what := range texts {
		assert.NotContains(t, what, key("c", 0), "nothing is wrong with a worker that runs")
	}
}

func TestWithoutTheTokenNothingIsTold(t *testing.T) {
	w := newWorld(t)
	w.twenty()
	url := w.serve()
	for _, path := range []string{"/", "/metrics", "/problems", "/workers/x", "/assets/style.css", "/nothing"} {
		for _, wrong := range []string{"", "wrong", token[:len(token)-1], token + "x"} {
			status, body, header := get(t, client, url+path, wrong)
			assert.Equal(t, http.StatusUnauthorized, status, path)
			assert.NotContains(t, body, "builds", path)
			assert.Contains(t, header.Get("WWW-Authenticate"), "Basic")
		}
	}
	status, body, _ := get(t, client, url+"/healthz", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", body)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.SetBasicAuth("anybody", token) // as a browser does
	answer, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
}

func TestNothingCanBeChangedOrLoadedFromElsewhere(t *testing.T) {
	url := newWorld(t).serve()
	for path, want := range map[string]int{
		"/": 200, "/workers/nobody-aaaaaaaa": 404, "/nothing": 404, "/assets/live.js": 200,
	} {
		status, _, header := get(t, client, url+path, token)
		assert.Equal(t, want, status, path)
		assert.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'", path)
		assert.NotContains(t, header.Get("Content-Security-Policy"), "unsafe", path)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		request, err := http.NewRequestWithContext(t.Context(), method, url+"/", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode, method)
	}
}

// process is what a plugin process runs for the endpoint.
type process struct {
	end   context.CancelFunc
	ended chan struct{}
	log   *safeBuffer
}

func (w *world) process() *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel, make(chan struct{}), new(safeBuffer)}
	go func() {
		defer close(p.ended)
		Run(ctx, w.host, w.config, slog.New(slog.NewTextHandler(p.log, nil)))
	}()
	w.t.Cleanup(p.kill)
	return p
}

func (p *process) kill() { p.end(); <-p.ended }

func (p *process) serves() bool {
	return strings.Contains(p.log.String(), "metrics of all pools are served")
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestOneOfSeveralProcessesServes on a socket that is its owner's, and when it ends
// another one does.
func TestOneOfSeveralProcessesServes(t *testing.T) {
	w := newWorld(t)
	w.pool("builds")
	socket := w.config.Metrics.Listen
	bySocket := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	first := w.process()
	require.Eventually(t, first.serves, patience, 5*time.Millisecond)
	second := w.process()
	_, body, _ := get(t, bySocket, "http://mayfly/metrics", "")
	assert.Contains(t, body, `pool="builds"`)
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	assert.False(t, second.serves())

	first.kill()
	require.Eventually(t, second.serves, patience, 5*time.Millisecond)
	status, _, _ := get(t, bySocket, "http://mayfly/healthz", "")
	assert.Equal(t, http.StatusOK, status)
	second.kill()
	assert.NoFileExists(t, socket)
	left, err := filepath.Glob(filepath.Dir(socket) + "/metrics.sock*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestASocketThatAKilledProcessLeftIsReplaced and nothing else is.
func TestASocketThatAKilledProcessLeftIsReplaced(t *testing.T) {
	w := newWorld(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.config.Metrics.Listen, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())
	p := w.process()
	require.Eventually(t, p.serves, patience, 5*time.Millisecond)
	p.kill()

	require.NoError(t, os.WriteFile(w.config.Metrics.Listen, []byte("precious"), 0o600))
	p = w.process()
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "what is there is no socket") },
		patience, 5*time.Millisecond)
	p.kill()
	text, err := os.ReadFile(w.config.Metrics.Listen)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
	assert.Equal(t, 1, strings.Count(p.log.String(), "not served"), "each reason is told once")
}

func TestTokensThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	good, err := readToken(write("good", "0123456789abcdef\n", 0o600))
	require.NoError(t, err)
	assert.Equal(t, "0123456789abcdef", good)
	for _, c := range []struct{ want, path string }{
		{"others may use it", write("open", "0123456789abcdef\n", 0o644)},
		{"no regular file", dir},
		{"no such file", filepath.Join(dir, "missing")},
		{"one line of 16 to 512 characters", write("short", "0123456789abcde\n", 0o600)},
		{"one line of 16 to 512 characters", write("two", "0123456789abcdef\n0123456789abcdef\n", 0o600)},
	} {
		_, err := readToken(c.path)
		require.ErrorContains(t, err, "reading metrics.token_file "+c.path)
		require.ErrorContains(t, err, c.want)
	}
}

// TestAWorkerThatIsGoneIsStillShown with what it took, as its ledger has it.
func TestAWorkerThatIsGoneIsStillShown(t *testing.T) {
	w := newWorld(t)
	w.pool("builds").worker("aaaaaaaa", 48*time.Hour).promised().starts(1).after(time.Second).job(7, hostile).
		after(time.Minute).ends(ledger.Failed, "it crashed").gone()
	url := w.serve()
	status, body, _ := get(t, client, url+"/workers/builds-aaaaaaaa", token)
	require.Equal(t, http.StatusOK, status)
	for _, want := range []string{"It ended unasked: it crashed", "42.5 s", "900.0 MiB", "10.0.0.5:5432", "1 min 1 s"} {
		assert.Contains(t, body, want)
	}
	assert.NotContains(t, body, hostile)
	status, _, _ = get(t, client, url+"/workers/builds-bbbbbbbb", token)
	assert.Equal(t, http.StatusNotFound, status)
}
