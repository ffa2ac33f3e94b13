//go:build linux

package qemu

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
)

// TestQuitTellsHowQEMUEnded has a QEMU that ends without an answer to quit, and a
// context that ends with it, as those of machines do: neither the order in which
// the two are seen nor what the context says may decide.
func TestQuitTellsHowQEMUEnded(t *testing.T) {
	for exit, check := range map[string]func(*testing.T, error){
		"0": func(t *testing.T, err error) { require.NoError(t, err) },
		"3": func(t *testing.T, err error) { require.ErrorContains(t, err, "exit status 3") },
	} {
		t.Run(exit, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "output")
			child, err := process.Start(process.Command{
				Path: "sh", Arguments: []string{"-c", "exit " + exit}, Output: output,
			})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-child.Done()
				cancel()
			}()
			check(t, (&machine{process: child, qmp: silentQMP(t)}).quit(ctx))
		})
	}
}

// silentQMP answers the negotiation and nothing after it.
func silentQMP(t *testing.T) *qmp.Client {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.WriteString(theirs, `{"QMP":{}}`+"\n")
		line := make([]byte, 1<<10)
		_, _ = theirs.Read(line)
		_, _ = io.WriteString(theirs, `{"return":{},"id":1}`+"\n")
		_, _ = io.Copy(io.Discard, theirs)
	}()
	client, err := qmp.New(t.Context(), ours, func(qmp.Event) {})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.Close()
		<-client.Closed()
		_ = theirs.Close()
	})
	return client
}
