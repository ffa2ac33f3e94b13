//go:build linux

package vmm

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// TestFailingStepFailsTheBuildAndLeavesNothing has an agent that is played: what
// a real one does with a step, and that a real machine ends, is tested elsewhere.
func TestFailingStepFailsTheBuildAndLeavesNothing(t *testing.T) {
	state := t.TempDir()
	blank := filepath.Join(state, "blank.raw")
	require.NoError(t, os.WriteFile(blank, append(make([]byte, 510), 0x55, 0xaa), 0o600))
	require.NoError(t, os.Truncate(blank, 1<<20))
	agent := filepath.Join(state, "agent")
	require.NoError(t, os.WriteFile(agent, []byte("agent"), 0o600))
	recipe := image.Recipe{
		Source: image.Source{Kind: image.Local, Location: blank}, User: "mayfly", Disk: 1 << 20, Agent: agent,
		Run: []string{"echo first", "echo the reason; exit 7"},
	}
	var destroyed []string
	workers := filepath.Join(state, "workers")
	maker := Maker{
		ImagesDir: filepath.Join(state, "images"), StateDir: state,
		Stage: stage.Stage{Pool: "p", WorkersDir: workers, Network: network.None{}, Destroy: func(_ context.Context, id string) error {
			destroyed = append(destroyed, id)
			return nil
		}},
		Boot: func(ctx context.Context, d Draft, talk func(context.Context, net.Conn) error) error {
			require.NoError(t, os.WriteFile(d.Console, []byte("what the console said\n"), 0o600))
			host, inside := net.Pipe()
			go playAgent(inside)
			return errors.Join(talk(ctx, host), host.Close())
		},
	}
	_, err := maker.Build(t.Context(), recipe, func(string, string) {})
	for _, want := range []string{"step 2 of 2", "image.run[1]", "exit code 7", "the reason", "last lines of the console", "what the console said"} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, destroyed, 2, "before and after")
	for _, pattern := range []string{"images/[0-9a-f]*", "images/.building-*", "workers/*"} {
		left, err := filepath.Glob(filepath.Join(state, pattern))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// playAgent answers as the agent of a guest does in which the step fails that
// says so.
func playAgent(conn net.Conn) {
	for requests := guest.NewReader(conn); ; {
		var request guest.Request
		if err := requests.Read(&request); errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return
		}
		answer := guest.Event{Version: guest.Version, ID: request.ID, Done: true}
		switch {
		case strings.Contains(request.Command, "cloud-init/result.json"):
			answer.Output = []byte(`{"v1":{"errors":[]}}`)
		case strings.Contains(request.Command, "exit 7"):
			answer.Output, answer.Exit = []byte("the reason\n"), 7
		}
		if guest.Write(conn, answer) != nil {
			return
		}
	}
}
