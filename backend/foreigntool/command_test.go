package foreigntool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func shell(script string) Command {
	return Command{Line: []string{"sh", "-c", script}, Stop: syscall.SIGTERM, Grace: time.Minute}
}

func TestOutputsAreToldApartUnlessTheyAreShown(t *testing.T) {
	both := shell("echo out; echo err >&2; exit 3")
	stdout, stderr, err := both.Run(t.Context(), nil)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Equal(t, "out\n", stdout)
	require.Equal(t, "err\n", stderr)

	var shown strings.Builder
	stdout, stderr, err = both.Run(t.Context(), &shown)
	require.Error(t, err)
	require.Empty(t, stdout)
	require.Equal(t, "out\nerr\n", stderr)
	require.Equal(t, stderr, shown.String())
}

func TestEnvironment(t *testing.T) {
	command := shell("echo $MAYFLY_TEST")
	command.Env = append(os.Environ(), "MAYFLY_TEST=here")
	stdout, _, err := command.Run(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "here\n", stdout)
}

// calls is called with what is written to it.
type calls func(string)

func (c calls) Write(p []byte) (int, error) { c(string(p)); return len(p), nil }

func TestEndOfTheContext(t *testing.T) {
	reason := errors.New("nobody wants it any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	var said strings.Builder
	waits := shell(`trap "echo asked; exit 0" TERM; echo ready; while :; do sleep 0.05; done`)
	_, _, err := waits.Run(ctx, calls(func(text string) {
		said.WriteString(text)
		cancel(reason)
	}))
	require.ErrorIs(t, err, reason)
	require.Equal(t, "ready\nasked\n", said.String())
}

func TestProcessThatIsLeftRunning(t *testing.T) {
	command := shell("sleep 600 & echo $!")
	command.Grace = 100 * time.Millisecond
	stdout, _, err := command.Run(t.Context(), nil)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(stdout))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL), "it runs, with our outputs open")
}

func TestLastLines(t *testing.T) {
	require.Empty(t, LastLines("\n"))
	require.Equal(t, "a\nb", LastLines("a\nb\n"))
	var many []string
	for n := range 2 * shownLines {
		many = append(many, strconv.Itoa(n))
	}
	require.Equal(t, strings.Join(many[shownLines:], "\n"), LastLines(strings.Join(many, "\n")))
}
