package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/pages"
)

// TestConfigurationsOnPagesAreTaken reads the plugin_config of every example on every page
// as the plugin does. Those of a runner may leave out what is not their matter.
func TestConfigurationsOnPagesAreTaken(t *testing.T) {
	taken := 0
	for _, block := range pages.Blocks(t, "toml") {
		for _, plugin := range pluginConfigs(t, block.Text) {
			taken++
			_, err := config.Parse(plugin)
			if err == nil {
				continue
			}
			for mistake := range strings.Lines(err.Error()) {
				if !strings.Contains(mistake, "no such file or directory") { // nor need there be, on this host
					t.Errorf("%s:%d: %s", block.File, block.Line, mistake)
				}
			}
		}
	}
	require.Greater(t, taken, 20)
}

func TestMistakesInConfigurationsAreFound(t *testing.T) {
	found := pluginConfigs(t, "[[runners]]\n[runners.autoscaler.plugin_config]\npol = \"x\"\n")
	require.Len(t, found, 1)
	_, err := config.Parse(found[0])
	require.ErrorContains(t, err, "plugin_config.pol")
	require.Len(t, pluginConfigs(t, "[runners.autoscaler.plugin_config.image]\nsuite = \"trixie\"\n"), 1)
	require.Empty(t, pluginConfigs(t, "[runners.autoscaler]\nplugin = \"x\"\n"))
}

// pluginConfigs are those of the runners in a text, as the runner hands them on. Examples
// of a part have [runners.…] where a file has [[runners]] before it.
func pluginConfigs(t *testing.T, text string) (found [][]byte) {
	t.Helper()
	var document map[string]any
	require.NoError(t, toml.Unmarshal([]byte(text), &document), text)
	runners, several := document["runners"].([]any)
	if !several {
		runners = []any{document["runners"]}
	}
	for _, runner := range runners {
		entry, _ := runner.(map[string]any)
		scaler, _ := entry["autoscaler"].(map[string]any)
		plugin, is := scaler["plugin_config"]
		if !is {
			continue
		}
		text, err := json.Marshal(plugin)
		require.NoError(t, err)
		found = append(found, text)
	}
	return found
}
