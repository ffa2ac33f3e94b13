package pool

import (
	"context"
	"io"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Entrance is an Access by which a person gets into a worker.
type Entrance interface {
	// Enter runs a session in a worker, and returns its exit code. The host key must be
	// that of the identity. An error says that the session did not run to its end.
	Enter(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key Key, do Session) (exit int, err error)
}

// Session is what a person does in a worker. Its bytes go both ways as they are.
type Session struct {
	// Command is run by the user's shell; without one the shell reads Stdin.
	Command string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// Terminal is what the shell has for one; nil for none.
	Terminal *Terminal
}

// Terminal is a person's terminal.
type Terminal struct {
	// Kind is its name in terminfo(5).
	Kind string
	TerminalSize
	// Resized gets each new size.
	Resized <-chan TerminalSize
}

// TerminalSize is in characters.
type TerminalSize struct{ Width, Height int }
