package main

import (
	"encoding/json"
	"io"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/licenses"
)

// commands are all that the program can be told to do. What lies behind each
// is in a file of its name.
type commands struct {
	Serve      serveCommand      `cmd:"" default:"1" hidden:"" help:"Serve the plugin, as GitLab Runner starts it."`
	Try        tryCommand        `cmd:"" help:"Run a script on fresh workers, as GitLab Runner would; needs no GitLab."`
	Doctor     doctorCommand     `cmd:"" help:"Check what this host has and lacks, and say how to mend it."`
	Image      imageCommands     `cmd:"" help:"Golden images."`
	Ps         psCommand         `cmd:"" help:"List the workers of all pools."`
	Explain    explainCommand    `cmd:"" help:"Say where a worker's or a job's time went, and how it ended."`
	Events     eventsCommand     `cmd:"" help:"Print what happened to workers, in order."`
	Ssh        sshCommand        `cmd:"" help:"Log in to a worker, or run a command there."`
	Console    consoleCommand    `cmd:"" help:"Print what a worker's machine has written to its console."`
	Logs       logsCommand       `cmd:"" help:"Print what the plugin has logged, or what it has of one worker."`
	Rm         rmCommand         `cmd:"" help:"End a worker, whoever uses it."`
	Hold       holdCommand       `cmd:"" help:"Keep a worker for a post-mortem when the runner gives it back."`
	Debug      debugCommand      `cmd:"" help:"Open a shell in a fork of a held worker, with its very memory."`
	Gc         gcCommand         `cmd:"" help:"Remove orphans: what killed plugin processes have left."`
	Config     configCommands    `cmd:"" help:"The runner's configuration."`
	Licenses   licensesCommand   `cmd:"" help:"Print our licence and those of all that is built in."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
	Completion completionCommand `cmd:"" help:"Print a script that completes commands and flags in a shell."`
	Bootstrap  bootstrapCommand  `cmd:"" help:"Copy the plugin to where GitLab Runner looks for those of a registry."`
	Guest      guestCommand      `cmd:"" hidden:"" help:"Be the agent inside a worker's guest."`
}

// streams are where a command writes its result, and all else. The log, which
// goes to err too, is for a person in front of a terminal.
type streams struct {
	out, err io.Writer
	log      *slog.Logger
}

func newStreams(out, err io.Writer) *streams {
	options := &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: withoutTime}
	return &streams{out, err, slog.New(slog.NewTextHandler(&withoutRepeats{to: err}, options))}
}

// document prints a command's result for machines.
func (s *streams) document(result any) error {
	encoder := json.NewEncoder(s.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

type licensesCommand struct{}

// Run prints all texts.
func (licensesCommand) Run(s *streams) error {
	_, err := io.WriteString(s.out, licenses.Text())
	return err
}
