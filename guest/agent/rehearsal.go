//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A rehearsal does in an idle worker what the runner does with every job, so that
// by emulation the guest's code for it is translated, and elsewhere its pages
// are mapped, before a job comes. Nothing of it is left.
type rehearsal struct {
	jobs account
	name string // of that account
	dir  string // is made, and removed
	log  *slog.Logger
}

const (
	// lull is how long a worker must have been without a connection: other workers
	// may be starting on the host, and most jobs that were waited for have come.
	lull = 3 * time.Second
	// rehearsalLimit bounds a rehearsal on a busy host.
	rehearsalLimit = 2 * time.Minute
	// rehearsalDir is where it works: on the disk, since jobs work there.
	rehearsalDir = "/var/tmp/mayfly-rehearsal"
)

// rehearsalScript uses what the scripts of the runner's stages use. What the
// image lacks is left out. The last address refuses connections.
const rehearsalScript = `if set -o | grep pipefail >/dev/null; then set -o pipefail; fi
: | eval $'echo "$(hostname) $(date +%s.%N)"; cat /etc/hostname'
mkdir -p builds/project && cd builds/project && git init --quiet first && cd first
git config user.name rehearsal && git config user.email rehearsal@localhost && git config http.version HTTP/2
echo text >file && git add file && git commit --quiet --message text
git init --quiet ../second && cd ../second && git remote add origin ../first
git fetch origin --prune --quiet --depth 20 +HEAD:refs/remotes/origin/main && git checkout --force --quiet --detach origin/main
git clean -ffdx && git submodule status
rm -f .git/index.lock && cat file && rm -rf ../first
GIT_TERMINAL_PROMPT=0 git ls-remote http://127.0.0.1:1/
gitlab-runner artifacts-uploader --help
true`

// whenQuiet runs the rehearsal once the worker has been quiet, unless ctx, which
// ends with the next connection, ends first. A rehearsal that is under way then
// is killed: its processes would take time from the job.
func (r rehearsal) whenQuiet(ctx context.Context) {
	sleep(ctx, lull)
	if ctx.Err() != nil {
		return
	}
	began := time.Now()
	switch err := r.run(ctx); {
	case ctx.Err() != nil:
		r.log.Info("a rehearsal was ended by a connection", "after", time.Since(began))
	case err != nil:
		r.log.Warn("a rehearsal failed", "error", err)
	}
}

func (r rehearsal) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, rehearsalLimit)
	defer cancel()
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	if err := os.Lchown(r.dir, r.jobs.uid, r.jobs.gid); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", "bash", "-c", rehearsalScript)
	cmd.Dir = r.dir
	cmd.Env = append(stepEnvironment[1:len(stepEnvironment):len(stepEnvironment)], "HOME="+r.dir, "USER="+r.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Credential: &syscall.Credential{Uid: uint32(r.jobs.uid), Gid: uint32(r.jobs.gid)},
	}
	cmd.Cancel = func() error { // the group has all that the script has started
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("rehearsing a job: %w", err)
	}
	unprotect(cmd.Process.Pid, r.log)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("rehearsing a job: %w", err)
	}
	return nil
}
