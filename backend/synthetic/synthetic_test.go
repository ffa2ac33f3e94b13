package synthetic_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		h := harness(t, "test")
		h.Other = func(t *testing.T) backendtest.Harness { return harness(t, "other") }
		return h
	})
}

func harness(t *testing.T, pool string) backendtest.Harness {
	b := synthetic.New(synthetic.Options{StartDelay: 2 * time.Millisecond})
	return backendtest.Harness{
		Backend: b,
		Kill:    func(_ *testing.T, id string) { b.Crash(id) },
		Name:    pool,
		Dir:     t.TempDir(),
		Recipe:  image.Recipe{User: "runner"},
	}
}

func TestCommands(t *testing.T) {
	_, client, dir := start(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "here"), nil, 0o600))
	tests := []struct {
		command, stdin         string
		status                 int
		wantStdout, wantStderr string
	}{
		{command: "echo 'hello world'", wantStdout: "hello world\n"},
		{command: "cat", stdin: "all of it", wantStdout: "all of it"},
		{command: "ls", wantStdout: "here\n"},
		{command: "echo $HOME $USER", wantStdout: dir + " runner\n"},
		{command: "echo no >&2; exit 3", status: 3, wantStderr: "no\n"},
		{command: "kill -KILL $$", status: 137},
		{command: "sleep 60 >/dev/null 2>&1 </dev/null & echo started", wantStdout: "started\n"},
	}
	for _, test := range tests {
		t.Run(test.command, func(t *testing.T) {
			session := newSession(t, client)
			var stdout, stderr bytes.Buffer
			session.Stdin = strings.NewReader(test.stdin)
			session.Stdout, session.Stderr = &stdout, &stderr
			err := session.Run(test.command)
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				assert.Equal(t, test.status, exit.ExitStatus())
			} else {
				assert.NoError(t, err)
				assert.Zero(t, test.status)
			}
			assert.Equal(t, test.wantStdout, stdout.String())
			assert.Equal(t, test.wantStderr, stderr.String())
		})
	}
}

func TestShellReadsItsScript(t *testing.T) {
	_, client, _ := start(t)
	session := newSession(t, client)
	var stdout bytes.Buffer
	session.Stdin, session.Stdout = strings.NewReader("echo a\necho b\nexit 0\n"), &stdout
	require.NoError(t, session.Shell())
	require.NoError(t, session.Wait())
	assert.Equal(t, "a\nb\n", stdout.String())
}

func TestWhatIsNotASessionIsRefused(t *testing.T) {
	_, client, _ := start(t)
	_, err := client.Dial("tcp", "127.0.0.1:1")
	assert.ErrorContains(t, err, "only sessions")
	session := newSession(t, client)
	assert.Error(t, session.RequestPty("xterm", 24, 80, nil))
	assert.Error(t, session.RequestSubsystem("sftp"))
}

func TestDestroyKillsWhatRuns(t *testing.T) {
	b, client, dir := start(t)
	session := newSession(t, client)
	stdout, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("sleep 60 & echo started; wait; touch survived"))
	_, err = stdout.Read(make([]byte, 1))
	require.NoError(t, err)

	began := time.Now()
	require.NoError(t, b.Destroy(t.Context(), "test-a"))
	assert.Less(t, time.Since(began), 10*time.Second)
	assert.Error(t, session.Wait())
	assert.NoFileExists(t, filepath.Join(dir, "survived"))
}

func TestStartFails(t *testing.T) {
	noMemory := errors.New("no memory")
	b := synthetic.New(synthetic.Options{FailStart: func(string) error { return noMemory }})
	_, err := b.Start(t.Context(), image.Golden{}, spec(t, "test-a"))
	require.ErrorIs(t, err, noMemory)

	b = synthetic.New(synthetic.Options{})
	broken := spec(t, "test-a")
	broken.Identity.HostKey = "none"
	_, err = b.Start(t.Context(), image.Golden{}, broken)
	require.ErrorContains(t, err, "host key")

	_, err = b.Start(t.Context(), image.Golden{}, spec(t, "test-a"))
	require.NoError(t, err)
	_, err = b.Start(t.Context(), image.Golden{}, spec(t, "test-a"))
	require.ErrorContains(t, err, "exists already")
	require.NoError(t, b.Destroy(t.Context(), "test-a"))
}

func TestCheckWarns(t *testing.T) {
	findings := synthetic.New(synthetic.Options{}).Check(t.Context())
	require.Len(t, findings, 1)
	assert.Equal(t, doctor.Warning, findings[0].Level)
}

// start makes one worker, test-a, and logs in.
func start(t *testing.T) (b *synthetic.Backend, client *ssh.Client, dir string) {
	t.Helper()
	b = synthetic.New(synthetic.Options{})
	spec := spec(t, "test-a")
	_, key, err := access.SSH{}.New("test-a", "runner")
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey([]byte(key))
	require.NoError(t, err)
	spec.Identity.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	machine, err := b.Start(t.Context(), image.Golden{}, spec)
	require.NoError(t, err)
	t.Cleanup(func() { b.Destroy(context.Background(), "test-a") })
	client, err = ssh.Dial("tcp", machine.Address().String(), &ssh.ClientConfig{
		User:            "runner",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return b, client, spec.Dir
}

func newSession(t *testing.T, client *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := client.NewSession()
	require.NoError(t, err)
	t.Cleanup(func() { session.Close() })
	return session
}

func spec(t *testing.T, id string) backend.Spec {
	t.Helper()
	identity, _, err := access.SSH{}.New(id, "runner")
	require.NoError(t, err)
	return backend.Spec{ID: id, Dir: t.TempDir(), Size: backend.Size{CPUs: 1, Memory: 1 << 30}, Identity: identity}
}
