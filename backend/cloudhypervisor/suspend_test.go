//go:build linux

package cloudhypervisor

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// The fake always answers; here a shell is the machine, and what answers for
// it does not.
func TestShutDownWithoutAnAnswer(t *testing.T) {
	for name, script := range map[string]string{"in order": "read end <&3", "not in order": "read end <&3; exit 3", "never": "kill -STOP $$"} {
		t.Run(name, func(t *testing.T) {
			heard, tell, err := os.Pipe()
			require.NoError(t, err)
			child, err := process.Start(process.Command{
				Path: "/bin/sh", Arguments: []string{"-c", script}, Files: []*os.File{heard}, Output: os.DevNull,
			})
			require.NoError(t, err)
			require.NoError(t, heard.Close())
			defer func() { require.NoError(t, errors.Join(tell.Close(), child.Kill(t.Context()))) }()
			socket := filepath.Join(t.TempDir(), "api")
			listener, err := net.Listen("unix", socket)
			require.NoError(t, err)
			server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				_, _ = tell.WriteString("end\n")
				panic(http.ErrAbortHandler)
			})}
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(func() { _ = server.Close() })

			err = (&machine{process: child, api: api.New(socket)}).shutDown(t.Context())
			if name == "in order" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "EOF")
		})
	}
}
