package remote

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

var password = Login{User: "admin", Password: "secret"}

func recipe(t *testing.T, run ...string) image.Recipe {
	runner := testdata(t, "gitlab-runner", "#!/bin/sh\necho the runner\n")
	return image.Recipe{User: "jobs", Run: run, GitLabRunner: runner}
}

// TestWholeWay takes a real machine from its first login by password to a
// worker with an identity of its own.
func TestWholeWay(t *testing.T) {
	d := startDebian(t)
	g := d.enter(t, password)
	require.Equal(t, "linux", g.OS())

	var shown []string
	progress := func(stage, line string) { shown = append(shown, stage+": "+line) }
	steps := recipe(t, `echo "it's root"; id -u`, "touch /etc/built # done")
	keys, err := g.prebuild(limit(t, 2*time.Minute), steps, progress)
	require.NoError(t, err)
	for _, want := range []string{
		"step 1 of 2: $ echo \"it's root\"; id -u", "step 1 of 2: it's root", "step 1 of 2: 0",
		"step 2 of 2: $ touch /etc/built # done", "account: ", "check: ", "gitlab-runner: ", "seal: ",
	} {
		require.Contains(t, shown, want)
	}
	d.reload(t, g)

	t.Run("a sealed image is entered with its keys only", func(t *testing.T) {
		d.refuses(t, password, "unable to authenticate")
		stranger, err := sshkey.NewPair("stranger")
		require.NoError(t, err)
		d.refuses(t, Login{User: keys.User, Key: stranger.Private, HostKey: keys.HostKey}, "unable to authenticate")
		d.refuses(t, Login{User: keys.User, Key: keys.Key, HostKey: stranger.Public}, sshkey.ErrHostKey.Error())
	})
	g = d.enter(t, keys.Login())
	require.Equal(t, "the runner\n", output(t, g, "gitlab-runner"))
	require.Equal(t, "\n", output(t, g, "ls /etc/built >/dev/null && cat /etc/machine-id"))
	require.Equal(t, "/etc/netplan/50-mayfly.yaml\n", output(t, g, "ls /etc/netplan/*"))

	id, key := identity(t, "worker-a")
	require.NoError(t, g.Rekey(limit(t, time.Minute), id))
	t.Run("a worker is entered with its own keys only", func(t *testing.T) {
		d.refuses(t, keys.Login(), sshkey.ErrHostKey.Error())
		d.refuses(t, Login{User: keys.User, Key: keys.Key, HostKey: id.HostKeyPublic}, "unable to authenticate")
		d.refuses(t, Login{User: "jobs", Key: keys.Key, HostKey: id.HostKeyPublic}, "unable to authenticate")
	})
	worker := d.enter(t, Login{User: "jobs", Key: key, HostKey: id.HostKeyPublic})
	require.Equal(t, "worker-a\nworker-a\n", output(t, worker, "hostname; cat /etc/hostname"))
	require.Equal(t, id.MachineID+"\n", output(t, worker, "cat /etc/machine-id"))
	require.Contains(t, output(t, worker, "cat /etc/hosts"), "127.0.1.1 worker-a # mayfly\n")
	require.Regexp(t, `^@1[0-9]{9}\n$`, output(t, worker, "cat /etc/clock-was-set"))
	require.Equal(t, "600 jobs\n", output(t, worker, "stat -c '%a %U' ~jobs/.ssh/authorized_keys"))
	require.Equal(t, "600 root\n", output(t, worker, "stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key"))
	require.Equal(t, "/etc/ssh/ssh_host_ed25519_key\n", output(t, worker, "ls /etc/ssh/ssh_host_* | grep -v pub"))
}

func TestStepsThatEndTheBuild(t *testing.T) {
	d := startDebian(t)
	g := d.enter(t, password)
	silent := func(string, string) {}

	_, err := g.prebuild(limit(t, 2*time.Minute), recipe(t, "true", "echo the reason; exit 7", "touch /never"), silent)
	for _, want := range []string{
		"step 2 of 3", "image.run[1]", "echo the reason; exit 7", "exit code 7", "last lines:\n  the reason",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, "no\n", output(t, g, "[ -e /never ] || echo no"))

	_, err = g.prebuild(limit(t, 2*time.Minute), recipe(t, "if then"), silent)
	require.ErrorContains(t, err, "step 1 of 1", "a command that is no shell's")
	_, err = g.prebuild(limit(t, 2*time.Minute), recipe(t, "cat; rm /usr/bin/git"), silent)
	require.ErrorContains(t, err, "missing: git", "a step that reads has nothing to read, and the rest runs")

	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	time.AfterFunc(300*time.Millisecond, cancel)
	_, err = g.prebuild(ctx, recipe(t, "sleep 600"), silent)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), time.Minute)
}

func TestAGuestThatWasNotPrebuilt(t *testing.T) {
	d := startDebian(t)
	g := d.enter(t, password)
	t.Run("an identity is taken whole or not at all", func(t *testing.T) {
		id, _ := identity(t, "worker-b")
		err := g.Rekey(limit(t, time.Minute), id) // there is no account called jobs
		require.ErrorContains(t, err, "giving worker-b its identity")

		id.Hostname = "a b; reboot"
		id.AuthorizedKey = "one\ntwo"
		err = g.Rekey(limit(t, time.Minute), id)
		require.ErrorContains(t, err, "hostname is missing or malformed")
		require.ErrorContains(t, err, "authorized_key is missing or malformed")
	})
	t.Run("output is streamed", func(t *testing.T) {
		lines := make(chan struct{}, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- g.asRoot(ctx, shell("echo first; echo second >&2; sleep 600"), signal{lines}) }()
		for range 2 {
			select {
			case <-lines:
			case <-time.After(time.Minute):
				t.Fatal("no output while the command runs")
			}
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// signal tells of each line.
type signal struct{ lines chan<- struct{} }

func (s signal) Write(p []byte) (int, error) {
	for range strings.Count(string(p), "\n") {
		s.lines <- struct{}{}
	}
	return len(p), nil
}

var _ io.Writer = signal{}
