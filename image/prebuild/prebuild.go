// Package prebuild turns a booted machine into a golden disk: it waits for
// cloud-init, runs the user's steps, checks that jobs will find what they
// need, and has the disk sealed; or does as much for a tree that is not booted. It
// talks to the guest's agent; booting the machine, and the files of the image, are
// its caller's.
package prebuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// Guest is a booted machine's agent; *guest.Client is one.
type Guest interface {
	runner
	Network(ctx context.Context) error
	Put(ctx context.Context, file guest.File, content io.Reader) error
	Setenv(ctx context.Context, name, value string) error
	Fetch(ctx context.Context, path string, output io.Writer) error
	Seal(ctx context.Context) error
	PowerOff(ctx context.Context) error
}

var _ Guest = (*guest.Client)(nil)

// Work is an image that is being built.
type Work struct {
	// Golden has the directory that the image is made in, and what is known of it so
	// far: the recipe, and in Steps what is behind it. The base is, at least.
	image.Golden
	// Prepared says that the first boot, or what stands for it in a tree, is behind it.
	Prepared bool
	// Keep keeps a copy of the state that the image is in, where one is wanted. It is
	// called when the first boot has ended, and after each step.
	Keep func(ctx context.Context) error
}

// KeepState calls Keep. A state that cannot be kept costs the next build time, and this
// one nothing: it is only shown.
func (w *Work) KeepState(ctx context.Context, progress image.Progress) error {
	if err := w.Keep(ctx); err != nil && context.Cause(ctx) == nil {
		progress("layer", "not kept: "+err.Error())
	}
	return context.Cause(ctx)
}

// did adds a step that began then.
func (w *Work) did(step image.Step, began time.Time) {
	step.Seconds = time.Since(began).Seconds()
	w.Steps = append(w.Steps, step)
}

// Run takes the guest from its boot to a sealed disk and powers it off. An image that
// came as a whole disk has no kernel in the golden image's directory yet: it is fetched
// from the guest, with the arguments for its root file system.
func Run(ctx context.Context, g Guest, w *Work, progress image.Progress) (err error) {
	if err := firstBoot(ctx, g, w, progress); err != nil {
		return err
	}
	if err := runSteps(ctx, g, w, progress); err != nil {
		return err
	}
	if w.Root, err = fetchKernel(ctx, g, w.Golden); err != nil {
		return err
	}
	progress("seal", "")
	if err := within(ctx, choreLimit, "sealing the image", g.Seal); err != nil {
		return err
	}
	return within(ctx, choreLimit, "powering the guest off", g.PowerOff)
}

// firstBoot waits for the end of what cloud-init does, unless the disk has that behind
// it: then only for the agent.
func firstBoot(ctx context.Context, g Guest, w *Work, progress image.Progress) error {
	if w.Prepared {
		return within(ctx, bootLimit, "boot", func(ctx context.Context) error {
			if err := g.Network(ctx); err != nil {
				return fmt.Errorf("waiting for the agent to set up the network: %w", err)
			}
			return nil
		})
	}
	progress("cloud-init", "")
	began := time.Now()
	err := within(ctx, bootLimit, "first boot", func(ctx context.Context) error {
		if err := g.Network(ctx); err != nil {
			return fmt.Errorf("waiting for the agent, which cloud-init starts, to set up the network: %w", err)
		}
		return waitForCloudInit(ctx, g, progress)
	})
	if err != nil {
		return err
	}
	if !w.Steps[0].Cached { // the first boot is a part of a base that is new
		w.Steps[0].Seconds += time.Since(began).Seconds()
	}
	return w.KeepState(ctx, progress)
}

// runSteps writes the user's files, runs those of the user's steps that are not behind
// the image, and then checks that jobs will find what they need. The user joins groups
// that packages have made before the steps, which may need that, and those that steps
// have made after them.
func runSteps(ctx context.Context, g Guest, w *Work, progress image.Progress) error {
	secrets, err := readSecrets(w.Recipe.Secrets)
	if err != nil {
		return err
	}
	g = hide(g, secrets)
	done := len(w.Steps) - 1
	if done == 0 { // else they are behind the image as well
		if err := reach(ctx, g, w.Recipe, progress); err != nil {
			return err
		}
		if err := putFiles(ctx, g, w.Recipe.Files, progress); err != nil {
			return err
		}
	}
	if err := setEnvironment(ctx, g, w.Recipe, secrets); err != nil {
		return err
	}
	if err := join(ctx, g, w.Recipe, progress); err != nil {
		return err
	}
	err = eachStep("prebuild", w.Recipe.Steps(), func(s step) error {
		if s.n <= done {
			return nil
		}
		began := time.Now()
		if err := s.run(ctx, g, progress); err != nil {
			return err
		}
		w.did(w.Recipe.Parts()[s.n], began)
		return w.KeepState(ctx, progress)
	})
	if err != nil {
		return err
	}
	if err := join(ctx, g, w.Recipe, progress); err != nil {
		return err
	}
	if err := session(ctx, g, w.Recipe, progress); err != nil {
		return err
	}
	progress("check", "")
	check := shown(g, requirements(w.Recipe.User), "check", progress)
	return within(ctx, choreLimit, "checking for what jobs need", check)
}

// runner is the part of a guest that runs commands.
type runner interface {
	Run(ctx context.Context, command string, output io.Writer) error
}

// Steps runs commands in order, each within image.StepLimit, and shows their output.
// The error says which step of what has failed, the setting that it is from, its exit
// code and its last lines.
func Steps(ctx context.Context, g runner, of string, all []image.Commands, progress image.Progress) error {
	return eachStep(of, all, func(s step) error { return s.run(ctx, g, progress) })
}

// step is one command.
type step struct {
	// n counts from 1. Stage is the step for progress, and what for errors.
	n                    int
	command, stage, what string
}

// eachStep calls do for each command, in order, until one fails.
func eachStep(of string, all []image.Commands, do func(step) error) error {
	count := 0
	for _, some := range all {
		count += len(some.Shell)
	}
	n := 0
	for _, some := range all {
		for i, command := range some.Shell {
			n++
			stage := fmt.Sprintf("step %d of %d", n, count)
			what := fmt.Sprintf("%s %s (%s[%d]: %s)", of, stage, some.Setting, i, command)
			if err := do(step{n, command, stage, what}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s step) run(ctx context.Context, g runner, progress image.Progress) error {
	progress(s.stage, "$ "+s.command)
	return within(ctx, image.StepLimit, s.what, shown(g, s.command, s.stage, progress))
}

// resultFile is what cloud-init writes when its last stage has ended.
const resultFile = "/run/cloud-init/result.json"

func waitForCloudInit(ctx context.Context, g Guest, progress image.Progress) error {
	var result bytes.Buffer
	const wait = "while [ ! -s " + resultFile + " ]; do sleep 0.2; done; cat " + resultFile
	if err := g.Run(ctx, wait, newBounded(&result, answerLimit)); err != nil {
		return fmt.Errorf("waiting for cloud-init: %w", err)
	}
	var report struct {
		V1 struct{ Errors []string }
	}
	if err := json.Unmarshal(result.Bytes(), &report); err != nil {
		return fmt.Errorf("reading cloud-init's result: %w", err)
	}
	if fatal := sortErrors(report.V1.Errors, progress); len(fatal) > 0 {
		tail := lines.New(func(line string) { progress("cloud-init", line) })
		_ = g.Run(ctx, "tail -n 20 /var/log/cloud-init-output.log", tail) // the errors matter more
		return fmt.Errorf("cloud-init: %s%s", strings.Join(fatal, "; "), tail.Quote())
	}
	return nil
}

// essential are the modules of cloud-init that do what the recipe asks for.
var essential = []string{
	"users-groups", "package-update-upgrade-install", "runcmd", "scripts-user", "bootcmd", "write-files", "ca-certs",
	"apt-configure", "yum-add-repo",
}

// sortErrors returns the errors of cloud-init's essential modules, and shows the
// others, which do no harm: a distribution's own settings may fail, such as a
// language that the image does not have. An error begins with the name of its
// module, with hyphens or underscores, as the version of cloud-init has it.
func sortErrors(all []string, progress image.Progress) (fatal []string) {
	for _, text := range all {
		module, _, found := strings.Cut(strings.TrimPrefix(text, "('"), "'")
		module = strings.ReplaceAll(module, "_", "-")
		if found && strings.HasPrefix(text, "('") && !slices.Contains(essential, module) {
			progress("cloud-init", "ignored: "+text)
			continue
		}
		fatal = append(fatal, text)
	}
	return fatal
}

// shown returns a function that runs a command and shows its output. When the
// command fails, the error has its last lines.
func shown(g runner, command, stage string, progress image.Progress) func(context.Context) error {
	return func(ctx context.Context) error {
		output := lines.New(func(line string) { progress(stage, line) })
		err := g.Run(ctx, command, output)
		output.Flush()
		if err != nil {
			return fmt.Errorf("%w%s", err, output.Quote())
		}
		return nil
	}
}

// requirements is a command that fails, and says why, when something is missing
// that the instance executor calls on a worker.
func requirements(user string) string {
	return `missing=
for tool in bash git curl sudo sshd; do
  PATH=$PATH:/usr/sbin command -v $tool >/dev/null || missing="$missing $tool"
done
[ -e /etc/ssl/certs ] || missing="$missing ca-certificates"
id ` + user + ` >/dev/null 2>&1 || missing="$missing user:` + user + `"
if [ -n "$missing" ]; then echo "missing:$missing (image.packages can add them)"; exit 1; fi
[ ` + user + ` = root ] || su ` + user + ` -c 'sudo -n true'`
}

func fetch(ctx context.Context, g Guest, path, to string) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = within(ctx, choreLimit, "fetching "+path+" out of the image", func(ctx context.Context) error {
		return g.Fetch(ctx, path, newBounded(file, fileLimit))
	})
	return errors.Join(err, file.Close())
}

// Tree does what Run does for a root file system whose agent runs in a container
// that is not booted: without cloud-init, a kernel, and powering off.
func Tree(ctx context.Context, g Guest, w *Work, progress image.Progress) error {
	progress("account", "")
	if err := within(ctx, choreLimit, "setting up the network of the prebuild", g.Network); err != nil {
		return err
	}
	if user := w.Recipe.User; user != "root" && !w.Prepared {
		account := shown(g, makeUser(user), "account", progress)
		if err := within(ctx, choreLimit, "making the account "+user, account); err != nil {
			return err
		}
	}
	if err := runSteps(ctx, g, w, progress); err != nil {
		return err
	}
	progress("seal", "")
	return within(ctx, choreLimit, "sealing the image", g.Seal)
}
