// Command fleeting-plugin-mayfly gives GitLab Runner disposable machines. The
// runner starts it without arguments and speaks fleeting's plugin protocol
// with it; people use its other commands, which `--help` lists. In a worker's
// guest the same binary is the agent.
//
// This package is command line and process life only: what a command does on a
// host is in package host, what the runner asks for in package provider.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/wiring"
)

// Exit codes beside 0 for success.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// umask is what files are made with, whatever the runner was started with: all that
// is private is made so, and root file systems must be readable for their users.
const umask = 0o022

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "guest": // before anything that a guest has no use for
			os.Exit(beGuest())
		case "-version", "--version": // as the fleeting library has them
			useLibrary("version")
			return
		}
	}
	syscall.Umask(umask)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program for everyone but the guest.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var cli commands
	var helped bool
	parser := kong.Must(&cli,
		kong.Name(config.PluginName),
		kong.Description("Disposable machines for GitLab Runner, made from one golden image."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(newStreams(stdout, stderr), wiring.Host()),
	)
	command, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err != nil {
		return report(ctx, stderr, usageError{err})
	}
	return report(ctx, stderr, command.Run())
}

// usageError is a mistake in what was typed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError is the end of a command that has an exit code of its own.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// errSilent is the error of a command that has said on stdout what is wrong. It
// has no text, so that of another beside it is all that is printed.
var errSilent = errors.New("")

func said(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimSpace(err.Error())
}

// report says what went wrong and returns the exit code for it.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if text := said(err); text != "" {
		fmt.Fprintf(stderr, "%s: %s\n", config.PluginName, text)
	}
	var usage usageError
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && ctx.Err() == nil:
		return exit.code
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "`%s --help` explains the command line.\n", config.PluginName)
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	default:
		return exitFailure
	}
}
