package remote

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// scripts are for /bin/sh, whatever shell that is.
//
//go:embed scripts
var scripts embed.FS

// script is one of ours, with values for its variables before it. All of it is
// read before any of it runs, and no command in it can read the rest of it.
func script(name string, values ...value) string {
	var whole strings.Builder
	whole.WriteString("{\n")
	for _, v := range values {
		fmt.Fprintf(&whole, "%s=%s\n", v.name, guest.Quote(v.text))
	}
	for _, part := range []string{"common", name} {
		text, err := scripts.ReadFile("scripts/" + part + ".sh")
		if err != nil {
			panic(err) // they are embedded
		}
		whole.Write(text)
	}
	whole.WriteString("\n} </dev/null\nexit\n")
	return whole.String()
}

// value is what a variable of a script is set to.
type value struct{ name, text string }

// shell is a script that runs a command that is not ours, and may exit, or be
// no shell's, as it likes.
func shell(command string) string { return "exec sh -c " + guest.Quote(command) + " </dev/null\n" }

// asRoot runs a script as root, its output copied to output as it comes; one that
// ran and failed is a *guest.ExitError. It is handed over on standard input: what
// is in it shows in no list of processes, and the user's login shell, whichever it
// is, never parses it.
func (g *Guest) asRoot(ctx context.Context, text string, output io.Writer) error {
	return g.stream(ctx, g.root, strings.NewReader(text), output)
}

func (g *Guest) stream(ctx context.Context, command string, input io.Reader, output io.Writer) error {
	session, err := g.client.NewSession()
	if err != nil {
		return fmt.Errorf("opening a session in the guest: %w", because(ctx, err))
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { g.client.Close() })
	defer stop()
	both := lines.Serial(output)
	session.Stdin, session.Stdout, session.Stderr = input, both, both
	var exit *ssh.ExitError
	switch err := session.Run(command); {
	case errors.As(err, &exit):
		return &guest.ExitError{Code: exit.ExitStatus()}
	case err != nil:
		return because(ctx, err)
	}
	return nil
}

// because prefers the reason why a context ended to what that brought about.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// ours runs one of our scripts as root; when it fails, the error has the end of what
// it printed. A guest may print anything.
func (g *Guest) ours(ctx context.Context, name string, values ...value) error {
	var output lines.Ending
	if err := g.asRoot(ctx, script(name, values...), &output); err != nil {
		return fmt.Errorf("%w: %s", err, lines.Text(output.String()))
	}
	return nil
}
