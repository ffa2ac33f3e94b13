package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// known reads an empty table for the keys that are asked for.
func known[T any](read func(*table) T) []string {
	t := &table{mistakes: new(Errors)}
	read(t)
	return t.known
}

// nestedKeys are the keys of each table.
func nestedKeys() map[string][]string {
	return map[string][]string{
		"image":   known(readImage),
		"machine": known(readMachine),
		"network": known(readNetwork),
		"fork":    known(readFork),
		"nspawn":  known(readNspawn),
		"host":    known(readHost),
		"tart":    known(readTart),
		"bhyve":   known(readBhyve),
	}
}

func TestExampleNamesEveryKey(t *testing.T) {
	for name, keys := range nestedKeys() {
		assert.Contains(t, templates.RunnerConfig, "[runners.autoscaler.plugin_config."+name+"]")
		for _, key := range keys {
			assert.Contains(t, templates.RunnerConfig, "# "+key+" = ")
		}
	}
	for _, key := range []string{"pool", "backend", "state_dir"} {
		assert.Contains(t, templates.RunnerConfig, "# "+key+" = ")
	}
}

func TestReferenceHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/configuration.md")
	require.NoError(t, err)
	for name, keys := range nestedKeys() {
		_, section, found := strings.Cut(string(page), "\n## "+name+"\n")
		require.True(t, found, name)
		section, _, _ = strings.Cut(section, "\n## ")
		for _, key := range keys {
			assert.Contains(t, section, "`"+key+"`", name)
		}
	}
}

func TestClosest(t *testing.T) {
	keys := []string{"cpus", "memory", "disk", "start_timeout"}
	for word, want := range map[string]string{
		"cpu": "cpus", "CPUs": "cpus", "memroy": "memory", "starttimeout": "start_timeout", "dsik": "disk", "colour": "", "x": "", "": "",
	} {
		assert.Equal(t, want, closest(word, keys), "%q", word)
	}
}
