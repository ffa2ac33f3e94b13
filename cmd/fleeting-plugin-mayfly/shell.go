package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

type imageShellCommand struct {
	configuration
	Save    string   `placeholder:"NAME" help:"Make an image of what is left, which image.source calls saved:NAME."`
	Root    bool     `help:"Be root, and not the user of jobs."`
	Command []string `arg:"" optional:"" help:"What to run in place of a shell, after --, joined as ssh joins words."`
}

// Validate is called by the command line's parser.
func (c imageShellCommand) Validate() error {
	if c.Save == "" {
		return nil
	}
	if err := config.CheckSavedName(c.Save); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

// Run builds the image unless it is there, and connects the terminal with a clone of it.
// It prints the digest of the image that is saved.
func (c imageShellCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, runner, err := c.load()
	if err != nil {
		return err
	}
	ssh, err := programs.Find("ssh")
	if err != nil {
		return err
	}
	progress := newProgress(s.err).report
	golden, backend, err := h.BuildImage(ctx, settings, runner.Username, host.Building{}, progress, s.log)
	if err != nil {
		return err
	}
	if settings, err = settings.With(func(c *config.Config) { c.Backend = backend }); err != nil {
		return err
	}
	work := func(ctx context.Context, clone host.Clone) error {
		session := session{program: ssh, clone: clone, command: c.remoteCommand(clone.User), terminal: onTerminal()}
		return session.run(ctx, s, len(c.Command) > 0)
	}
	saved, err := h.Shell(ctx, settings, golden, host.Shell{Work: work, Save: c.Save}, progress, s.log)
	if err != nil || c.Save == "" {
		return err
	}
	_, err = fmt.Fprintln(s.out, saved.Digest)
	return err
}

// remoteCommand is what the user of jobs runs; empty is their shell.
func (c imageShellCommand) remoteCommand(user string) string {
	command := strings.Join(c.Command, " ")
	switch {
	case !c.Root || user == "root":
		return command
	case command == "":
		return "sudo -i"
	}
	return "sudo -- sh -c " + guest.Quote(command)
}

func onTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}

// session is one run of ssh(1), which does with a terminal all that people expect.
type session struct {
	program string
	clone   host.Clone
	command string
	// terminal says that a person sits at one.
	terminal bool
}

// Files of a session, in the clone's directory.
const (
	keyFile        = "shell-key"
	knownHostsFile = "shell-known-hosts"
)

// arguments are those of ssh, which is to read no configuration and use no keys but these.
func (s session) arguments() []string {
	address := s.clone.Address
	args := []string{"-F", "none", "-p", fmt.Sprint(address.Port()), "-l", s.clone.User}
	for _, option := range []string{
		"IdentityFile=" + sshWord(filepath.Join(s.clone.Dir, keyFile)),
		"UserKnownHostsFile=" + sshWord(filepath.Join(s.clone.Dir, knownHostsFile)),
		"HostKeyAlias=clone", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes",
		"IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "LogLevel=ERROR",
	} {
		args = append(args, "-o", option)
	}
	if s.terminal {
		args = append(args, "-t")
	}
	args = append(args, address.Addr().String())
	if s.command != "" {
		args = append(args, s.command)
	}
	return args
}

// sshWord quotes a path of a list as ssh_config(5) has it.
func sshWord(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path) + `"`
}

// run ends with the session. How a shell ends says nothing; a command that fails is an
// error, and so is a connection that breaks.
func (s session) run(ctx context.Context, to *streams, commanded bool) error {
	err := errors.Join(
		os.WriteFile(filepath.Join(s.clone.Dir, keyFile), []byte(s.clone.Key), 0o600),
		os.WriteFile(filepath.Join(s.clone.Dir, knownHostsFile), []byte("clone "+s.clone.HostKeyPublic+"\n"), 0o600))
	if err != nil {
		return fmt.Errorf("preparing ssh: %w", err)
	}
	ssh := exec.CommandContext(ctx, s.program, s.arguments()...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = os.Stdin, to.out, io.Writer(to.err)
	err = ssh.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &exit):
		return err
	case exit.ExitCode() == exitLost:
		return errors.New("the session with the clone broke: nothing is saved")
	case commanded:
		return exitError{exit.ExitCode(), fmt.Errorf("the command ended with exit code %d", exit.ExitCode())}
	}
	return nil
}
