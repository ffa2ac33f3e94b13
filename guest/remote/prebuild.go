package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// Every wait for a guest has a limit; that of the user's steps is image.StepLimit.
const (
	// bootLimit bounds a guest's first boot, until it lets us in.
	bootLimit = 10 * time.Minute
	// choreLimit bounds each of our own.
	choreLimit = 30 * time.Minute
)

// chore is one thing to be done in the guest, with its output shown.
type chore struct {
	stage, shown string
	// what says it in an error.
	what  string
	text  string // for sh, as root
	limit time.Duration
}

// MakeGolden takes a guest from its first boot to a golden one that has agreed
// to power off. It returns the guest's system as Go names it, and what opens
// the machines that are made from it.
func MakeGolden(ctx context.Context, locate Locate, first Login, recipe image.Recipe, progress image.Progress) (
	system string, keys Keys, err error,
) {
	late := fmt.Errorf("the image did not let user %s in within %s", first.User, bootLimit)
	boot, booted := context.WithTimeoutCause(ctx, bootLimit, late)
	defer booted()
	g, _, err := Wait(boot, locate, first)
	if err != nil {
		return "", Keys{}, err
	}
	defer g.Close()
	if keys, err = g.prebuild(ctx, recipe, progress); err != nil {
		return "", Keys{}, err
	}
	return g.OS(), keys, g.powerOff(ctx)
}

// prebuild makes a booted guest a golden one: the account that jobs log in to,
// packages, the user's steps, a look at what jobs need, and then the seal:
// from its next boot on it is entered with the keys that are returned, and
// with no password. The guest still runs then; see powerOff.
func (g *Guest) prebuild(ctx context.Context, recipe image.Recipe, progress image.Progress) (Keys, error) {
	for _, c := range g.chores(recipe) {
		progress(c.stage, c.shown)
		if err := g.do(ctx, c, progress); err != nil {
			return Keys{}, err
		}
	}
	if err := g.copyRunner(ctx, recipe, progress); err != nil {
		return Keys{}, err
	}
	progress("seal", "")
	return g.seal(ctx)
}

func (g *Guest) chores(recipe image.Recipe) []chore {
	about := []value{{"system", g.system}, {"login_user", g.user}, {"user", recipe.User}}
	chores := []chore{{stage: "account", what: "making the account " + recipe.User,
		text: script("account", about...), limit: choreLimit}}
	if len(recipe.Packages) > 0 {
		packages := value{"packages", strings.Join(recipe.Packages, " ")}
		chores = append(chores, chore{stage: "packages", what: "installing image.packages",
			text: script("packages", append(about, packages)...), limit: choreLimit})
	}
	for i, command := range recipe.Run {
		stage := fmt.Sprintf("step %d of %d", i+1, len(recipe.Run))
		chores = append(chores, chore{stage: stage, shown: "$ " + command, text: shell(command), limit: image.StepLimit,
			what: fmt.Sprintf("prebuild %s (image.run[%d]: %s)", stage, i, command)})
	}
	return append(chores, chore{stage: "check", what: "checking for what jobs need",
		text: script("check", about...), limit: choreLimit})
}

// do does a chore; when it fails, the error has its last lines.
func (g *Guest) do(ctx context.Context, c chore, progress image.Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("it took longer than %s", c.limit))
	defer cancel()
	output := lines.New(func(line string) { progress(c.stage, line) })
	if err := g.asRoot(ctx, c.text, output); err != nil {
		return fmt.Errorf("%s: %w%s", c.what, err, output.Quote())
	}
	output.Flush()
	return nil
}

// uploaded is where a binary waits in the guest to be installed.
const uploaded = "/tmp/mayfly-gitlab-runner"

// copyRunner puts this host's gitlab-runner into a guest that can run it. In
// others image.run may install one.
func (g *Guest) copyRunner(ctx context.Context, recipe image.Recipe, progress image.Progress) error {
	if recipe.GitLabRunner == "" {
		return nil
	}
	if g.OS() != runtime.GOOS || g.arch != runtime.GOARCH {
		progress("gitlab-runner", fmt.Sprintf("not copied: it is for %s/%s, the guest is %s/%s",
			runtime.GOOS, runtime.GOARCH, g.OS(), g.arch))
		return nil
	}
	progress("gitlab-runner", "")
	ctx, cancel := context.WithTimeout(ctx, choreLimit)
	defer cancel()
	binary, err := os.Open(recipe.GitLabRunner)
	if err != nil {
		return fmt.Errorf("copying gitlab-runner: %w", err)
	}
	defer binary.Close()
	if err := g.stream(ctx, "tee "+uploaded, binary, io.Discard); err != nil {
		return fmt.Errorf("copying gitlab-runner: %w", err)
	}
	if err := g.ours(ctx, "runner", value{"uploaded", uploaded}); err != nil {
		return fmt.Errorf("installing gitlab-runner: %w", err)
	}
	return nil
}

// seal makes the keys that open the golden image's machines, and shuts every
// other way in.
func (g *Guest) seal(ctx context.Context) (Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, choreLimit)
	defer cancel()
	login, err := sshkey.NewPair("mayfly-golden")
	if err != nil {
		return Keys{}, err
	}
	host, err := sshkey.NewPair("mayfly-golden")
	if err != nil {
		return Keys{}, err
	}
	err = g.ours(ctx, "seal",
		value{"system", g.system},
		value{"login_user", g.user},
		value{"login_key", login.Public},
		value{"host_key", strings.TrimSpace(host.Private)},
		value{"host_key_public", host.Public},
	)
	if err != nil {
		return Keys{}, fmt.Errorf("sealing the image: %w", err)
	}
	return Keys{User: g.user, Key: login.Private, HostKey: host.Public}, nil
}

// powerOff has the guest shut down, and returns when it has agreed.
func (g *Guest) powerOff(ctx context.Context) error {
	err := g.ours(ctx, "poweroff", value{"system", g.system})
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) || errors.Is(err, guest.ErrGone) { // it was faster than its own answer
		return nil
	}
	if err != nil {
		return fmt.Errorf("powering the guest off: %w", err)
	}
	return nil
}

// Mount is a shared directory that the host offers under a tag, and where it is
// mounted in a guest.
type Mount struct{ Tag, Dir string }

// Mount mounts a share.
func (g *Guest) Mount(ctx context.Context, m Mount) error {
	err := g.ours(ctx, "mount",
		value{"system", g.system}, value{"login_user", g.user}, value{"tag", m.Tag}, value{"dir", m.Dir})
	if err != nil {
		return fmt.Errorf("mounting the share %s at %s in the guest: %w", m.Tag, m.Dir, err)
	}
	return nil
}
