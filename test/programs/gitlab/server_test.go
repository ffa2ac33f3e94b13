package gitlab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// player asks the server what a runner would.
type player struct {
	t      *testing.T
	server *Server
	url    string
}

func play(t *testing.T) player {
	t.Helper()
	repository := filepath.Join(t.TempDir(), "project.git")
	require.NoError(t, MakeRepository(repository))
	listener := httptest.NewUnstartedServer(nil)
	url := "http://" + listener.Listener.Addr().String()
	server := New(url, repository)
	listener.Config.Handler = server
	listener.Start()
	t.Cleanup(listener.Close)
	return player{t, server, url}
}

// ask sends a request with headers in pairs.
func (p player) ask(method, path, body string, headers ...string) *http.Response {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	require.NoError(p.t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

const asRunner = `{"token":"` + RunnerToken + `","system_id":"s_1"}`

// take takes the next job, and returns its token.
func (p player) take() string {
	p.t.Helper()
	response := p.ask("POST", "/api/v4/jobs/request", asRunner)
	require.Equal(p.t, http.StatusCreated, response.StatusCode)
	var job struct{ Token string }
	require.NoError(p.t, json.NewDecoder(response.Body).Decode(&job))
	return job.Token
}

func (p player) patch(token string, id, from int, piece string) *http.Response {
	p.t.Helper()
	return p.ask("PATCH", fmt.Sprintf("/api/v4/jobs/%d/trace", id), piece,
		"JOB-TOKEN", token, "Content-Range", fmt.Sprintf("%d-%d", from, from+len(piece)-1))
}

func (p player) put(token string, id int, state State, trace string) *http.Response {
	p.t.Helper()
	body := fmt.Sprintf(`{"state":%q,"exit_code":3,"output":{"checksum":"crc32:%08x","bytesize":%d}}`,
		state, crc32.ChecksumIEEE([]byte(trace)), len(trace))
	return p.ask("PUT", fmt.Sprintf("/api/v4/jobs/%d", id), body, "JOB-TOKEN", token)
}

func TestJobEndsWithItsTrace(t *testing.T) {
	p := play(t)
	require.Equal(t, http.StatusOK, p.ask("POST", "/api/v4/runners/verify", asRunner).StatusCode)
	job := p.server.Offer(Spec{Name: "n", Script: []string{"true"}})
	token := p.take()
	require.Equal(t, http.StatusAccepted, p.patch(token, 1, 0, "hello ").StatusCode)
	require.Equal(t, http.StatusAccepted, p.patch(token, 1, 6, "world").StatusCode)
	require.NoError(t, job.AwaitTrace(t.Context(), "world"))
	require.Equal(t, http.StatusOK, p.put(token, 1, Failed, "hello world").StatusCode)
	outcome, err := job.Await(t.Context())
	require.NoError(t, err)
	require.Equal(t, Outcome{State: Failed, ExitCode: 3, Trace: "hello world"}, outcome)
	require.Empty(t, p.server.Complaints())
}

func TestTokensHaveGitLabsForm(t *testing.T) {
	p := play(t)
	p.server.Offer(Spec{})
	p.server.Offer(Spec{})
	first, second := p.take(), p.take()
	for _, token := range []string{first, second} {
		require.Regexp(t, `^glcbt-[0-9a-f]+_[0-9A-Za-z_-]{20}$`, token)
	}
	require.NotEqual(t, first, second)
}

func TestCancelledJobIsTold(t *testing.T) {
	p := play(t)
	job := p.server.Offer(Spec{})
	token := p.take()
	job.Cancel()
	response := p.patch(token, 1, 0, "hello")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Equal(t, "canceled", response.Header.Get("Job-Status"))
	require.Empty(t, p.server.Complaints(), "the runner could not know")
}

func TestWhatGitLabWouldRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(p player, token string) *http.Response
		status int
	}{
		"a runner that is not known": {func(p player, _ string) *http.Response {
			return p.ask("POST", "/api/v4/jobs/request", `{"token":"x","system_id":"s"}`)
		}, 403},
		"a runner without a system": {func(p player, _ string) *http.Response {
			return p.ask("POST", "/api/v4/runners/verify", `{"token":"`+RunnerToken+`"}`)
		}, 400},
		"a job that is not there": {func(p player, token string) *http.Response {
			return p.put(token, 2, Success, "")
		}, 404},
		"another job's token": {func(p player, _ string) *http.Response { return p.put("x", 1, Success, "") }, 403},
		"a gap in the trace": {func(p player, token string) *http.Response {
			return p.patch(token, 1, 5, "late")
		}, 416},
		"a trace of another length": {func(p player, token string) *http.Response {
			return p.ask("PATCH", "/api/v4/jobs/1/trace", "late", "JOB-TOKEN", token, "Content-Range", "0-9")
		}, 400},
		"an end with a trace that was lost": {func(p player, token string) *http.Response {
			return p.put(token, 1, Success, "lost")
		}, 412},
		"a state that does not exist": {func(p player, token string) *http.Response {
			return p.put(token, 1, "happy", "")
		}, 400},
		"artifacts that nobody made": {func(p player, token string) *http.Response {
			return p.ask("GET", "/api/v4/jobs/1/artifacts", "", "JOB-TOKEN", token)
		}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			p := play(t)
			p.server.Offer(Spec{})
			response := c.do(p, p.take())
			require.Equal(t, c.status, response.StatusCode)
			require.Len(t, p.server.Complaints(), 1)
		})
	}
}

func TestArtifactsComeBack(t *testing.T) {
	p := play(t)
	first := p.server.Offer(Spec{Artifacts: []string{"made"}})
	p.server.Offer(Spec{From: first})
	token := p.take()
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	file, err := writer.CreateFormFile("file", "artifacts.zip")
	require.NoError(t, err)
	_, err = file.Write([]byte("archive"))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	response := p.ask("POST", "/api/v4/jobs/1/artifacts", form.String(), "JOB-TOKEN", token,
		"Content-Type", writer.FormDataContentType())
	require.Equal(t, http.StatusCreated, response.StatusCode)
	require.Equal(t, http.StatusOK, p.put(token, 1, Success, "").StatusCode)
	archive, err := io.ReadAll(p.ask("GET", "/api/v4/jobs/1/artifacts", "", "JOB-TOKEN", token).Body)
	require.NoError(t, err)
	require.Equal(t, "archive", string(archive), "also when the job is over")
}

// Only a job that runs may clone the repository.
func TestRepositoryIsForJobsThatRun(t *testing.T) {
	p := play(t)
	p.server.Offer(Spec{Git: true})
	token := p.take()
	clone := func(dir string) error {
		url := strings.Replace(p.url, "://", "://gitlab-ci-token:"+token+"@", 1) + repositoryPath
		return exec.Command("git", "clone", "--quiet", url, dir).Run()
	}
	dir := filepath.Join(t.TempDir(), "clone")
	require.NoError(t, clone(dir))
	text, err := os.ReadFile(filepath.Join(dir, "greeting"))
	require.NoError(t, err)
	require.Equal(t, Greeting+"\n", string(text))
	require.Equal(t, http.StatusOK, p.put(token, 1, Success, "").StatusCode)
	require.Error(t, clone(filepath.Join(t.TempDir(), "later")))
}
