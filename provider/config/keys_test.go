package config

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// known reads an empty table for the keys that are asked for.
func known[T any](read func(*table) T) []string {
	t := &table{mistakes: new(Errors)}
	read(t)
	return t.known
}

func TestExampleNamesEveryKey(t *testing.T) {
	nested := map[string][]string{
		"image":   known(readImage),
		"machine": known(readMachine),
		"network": known(readNetwork),
		"fork":    known(readFork),
		"nspawn":  known(readNspawn),
		"host":    known(readHost),
		"tart":    known(readTart),
		"bhyve":   known(readBhyve),
	}
	for name, keys := range nested {
		assert.Contains(t, templates.RunnerConfig, "[runners.autoscaler.plugin_config."+name+"]")
		for _, key := range keys {
			assert.Contains(t, templates.RunnerConfig, "# "+key+" = ")
		}
	}
	for _, key := range []string{"pool", "backend", "state_dir"} {
		assert.Contains(t, templates.RunnerConfig, "# "+key+" = ")
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
