package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

type sshCommand struct {
	onWorker
	Command []string `arg:"" optional:"" passthrough:"" name:"CMD" help:"What to run; without it, a shell."`
}

// Run logs in to a worker as its jobs do.
func (c sshCommand) Run(ctx context.Context, h *host.Host, s *streams) error {
	settings, _, record, err := c.present(h)
	if err != nil {
		return err
	}
	if !record.Address.IsValid() {
		return fmt.Errorf("worker %s is %s: it has no address yet", record.ID, record.State)
	}
	if pool.State(record.State) == pool.Suspended {
		return fmt.Errorf("worker %s is suspended: nothing of it runs", record.ID)
	}
	return enter(ctx, s, h, settings, record, c.Command)
}

// enter runs a command in a worker, or a shell in which it is the person's terminal that
// is used, if there is one. The words of a command are joined by spaces, as ssh does.
func enter(
	ctx context.Context, s *streams, h *host.Host, settings config.Config, record store.Record, command []string,
) error {
	do := pool.Session{
		Command: strings.Join(command, " "), Stdin: os.Stdin, Stdout: s.out, Stderr: s.err,
	}
	if fd := int(os.Stdin.Fd()); do.Command == "" && term.IsTerminal(fd) {
		terminal, restore, err := takeTerminal(fd)
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer restore()
		do.Terminal = terminal
	}
	exit, err := h.Enter(ctx, settings, record, do, s.log)
	if err != nil {
		return exitError{exitLost, fmt.Errorf("worker %s: %w", record.ID, err)}
	}
	if exit != 0 {
		return exitError{exit, errSilent}
	}
	return nil
}

// takeTerminal has the terminal pass on each byte as it is, until restore.
func takeTerminal(fd int) (terminal *pool.Terminal, restore func(), err error) {
	former, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, err
	}
	changed, sizes := make(chan os.Signal, 1), make(chan pool.TerminalSize)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer close(sizes)
		for range changed {
			sizes <- sizeOf(fd)
		}
	}()
	restore = func() {
		signal.Stop(changed)
		_ = term.Restore(fd, former)
	}
	terminal = &pool.Terminal{Kind: cmp.Or(os.Getenv("TERM"), "dumb"), TerminalSize: sizeOf(fd), Resized: sizes}
	return terminal, restore, nil
}

// sizeOf is the usual size where a terminal does not tell its own.
func sizeOf(fd int) pool.TerminalSize {
	width, height, err := term.GetSize(fd)
	if err != nil || width == 0 {
		return pool.TerminalSize{Width: 80, Height: 24}
	}
	return pool.TerminalSize{Width: width, Height: height}
}
