package plugin

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/secrets"
)

// A service manager may give the runner any umask.
func TestSecretsAreKeptWhateverTheUmask(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"000", "022", "077"} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			stateDir := filepath.Join(shortDir(t), "state")
			masked := filepath.Join(shortDir(t), "masked")
			script := "#!/bin/sh\numask " + umask + "\nexec '" + binary + "'\n"
			require.NoError(t, os.WriteFile(masked, []byte(script), 0o700))

			var log bytes.Buffer
			plugin, err := runner.Start(masked, pluginConfig(stateDir),
				hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log}))
			require.NoError(t, err)
			t.Cleanup(plugin.Kill)
			require.NoError(t, plugin.Initialise(t.Context()))
			require.NoError(t, plugin.Grow(t.Context(), 2))
			ids, err := plugin.AwaitRunning(t.Context())
			require.NoError(t, err)
			for _, id := range ids {
				_, err := plugin.Run(t.Context(), id, "true")
				require.NoError(t, err)
			}
			secrets.RequireClosed(t, stateDir)
			keys := secrets.RequireKept(t, stateDir)
			require.NoError(t, plugin.Stop(t.Context())) // and nobody writes to the log any more
			keys.RequireAbsent(t, log.String())
		})
	}
}
