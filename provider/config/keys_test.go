package config

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
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

		"cloud_hypervisor": known(readCloudHypervisor),
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

// A default in the reference is one that changes nothing.
func TestReferenceHasTheDefaults(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/configuration.md")
	require.NoError(t, err)
	row := regexp.MustCompile("^\\| (`[a-z_`, ]+`) \\| [^|]+ \\| `([^`]+)`")
	checked, inside := 0, ""
	for line := range strings.Lines(string(page)) {
		if title, isTitle := strings.CutPrefix(line, "## "); isTitle {
			inside = strings.TrimSpace(title)
		}
		match := row.FindStringSubmatch(line)
		keys, isTable := nestedKeys()[inside]
		if match == nil || !isTable && inside != "Top level" || !json.Valid([]byte(match[2])) {
			continue
		}
		for key := range strings.SplitSeq(match[1], ", ") {
			key = strings.Trim(key, "`")
			if key == "deny" {
				continue // its default has a word of its own in a Config
			}
			text := fmt.Sprintf("{%q:%s}", key, match[2])
			if isTable {
				assert.Contains(t, keys, key)
				text = fmt.Sprintf("{%q:%s}", inside, text)
			}
			c, err := Parse([]byte(text))
			require.NoError(t, err, text)
			assert.Equal(t, Default(), c, text)
			checked++
		}
	}
	assert.Greater(t, checked, 30)
}

func TestClosest(t *testing.T) {
	keys := []string{"cpus", "memory", "disk", "start_timeout"}
	for word, want := range map[string]string{
		"cpu": "cpus", "CPUs": "cpus", "memroy": "memory", "starttimeout": "start_timeout", "dsik": "disk", "colour": "", "x": "", "": "",
	} {
		assert.Equal(t, want, closest(word, keys), "%q", word)
	}
}
