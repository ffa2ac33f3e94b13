package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the tables of docs/reference/configuration.md anew")

// everyKey calls a function for each key, with what encloses it in JSON: %s is
// its value.
func everyKey(do func(s section, k key, enclosed string)) {
	var c Config
	for _, s := range c.sections() {
		for _, k := range s.keys {
			enclosed := fmt.Sprintf("{%q:%%s}", k.name)
			if s.name != "" {
				enclosed = fmt.Sprintf("{%q:%s}", s.name, enclosed)
			}
			do(s, k, enclosed)
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	everyKey(func(s section, k key, _ string) {
		assert.NotEmpty(t, k.about, s.path(k))
		assert.NotEmpty(t, k.instance(), s.path(k))
	})
}

// A default that is written changes nothing.
func TestDefaultsAreGood(t *testing.T) {
	everyKey(func(_ section, k key, enclosed string) {
		if k.fallback != "" {
			text := fmt.Sprintf(enclosed, k.fallback)
			c, err := Parse([]byte(text))
			require.NoError(t, err, text)
			assert.Equal(t, Default(), c, text)
		}
	})
}

// An example may contradict what is beside it, but is right alone.
func TestExamplesAreGood(t *testing.T) {
	everyKey(func(s section, k key, _ string) {
		var file map[string]any // the example is in the words of the file
		require.NoError(t, toml.Unmarshal([]byte("value = "+k.instance()), &file), s.path(k))
		value := file["value"]
		var mistakes Errors
		k.value.read(&mistakes, given{s.path(k), value}, "")
		assert.Empty(t, mistakes)
		assert.NotEqual(t, k.fallback, k.example, s.path(k))
	})
}

// TestExampleGivesTheDefaults reads the whole example with every key at its
// default, which is the same as without any.
func TestExampleGivesTheDefaults(t *testing.T) {
	atDefault := regexp.MustCompile(`(?m)^( *)# ([a-z0-9_]+ = )`)
	for _, text := range []string{Example("instance"), atDefault.ReplaceAllString(Example("instance"), "$1$2")} {
		file := filepath.Join(t.TempDir(), "config.toml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, settings, err := Load(file, "")
		require.NoError(t, err)
		assert.Equal(t, Default(), c)
		assert.Equal(t, RunnerSettings{Username: "mayfly"}, settings)
	}
}

// The example for Docker differs in what Docker needs, and in nothing else.
func TestExampleForDockerHasDocker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(Example("docker")), 0o600))
	c, _, err := Load(file, "")
	require.NoError(t, err)
	want := Default()
	want.Image.Preset = "docker"
	assert.Equal(t, want, c)
	assert.Contains(t, Example("docker"), "  executor = \"docker-autoscaler\"\n")
	assert.Contains(t, Example("docker"), "  [runners.docker]\n    image = ")
	assert.NotContains(t, Example("instance"), "[runners.docker]")
}

// TestExampleHasEveryKey also where there is no default, and reads the examples
// that go together.
func TestExampleHasEveryKey(t *testing.T) {
	for line := range strings.Lines(Example("instance")) {
		assert.NotContains(t, line, "`", "a comment is no Markdown")
	}
	everyKey(func(s section, k key, _ string) {
		assert.Contains(t, Example("instance"), "[runners.autoscaler.plugin_config."+s.name)
		assert.Contains(t, Example("instance"), "# "+k.name+" = "+k.instance()+"\n")
	})
	examples := regexp.MustCompile(`(?m)^( *)## ([a-z0-9_]+ = )`).ReplaceAllString(Example("instance"), "$1$2")
	contrary := regexp.MustCompile(`(?m)^ *(suite|variant|components|extra_sources|mirror|keyring|verify_key|devices|` +
		`ca_certificates) = .*$`) // to other examples, or to this host
	examples = contrary.ReplaceAllString(examples, "")
	examples, _, _ = strings.Cut(examples, "    # For the backend \"tart\"")
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(examples), 0o600))
	c, _, err := Load(file, "")
	require.NoError(t, err)
	assert.Len(t, c.Image.Source.SHA256, 64)
	assert.Equal(t, []string{"gitlab.example.com", "*.debian.org"}, c.Network.Domains)
	assert.Equal(t, int64(100e6), c.Network.Bandwidth)
	assert.Equal(t, int64(200*mib), c.CloudHypervisor.DiskBandwidth)
	assert.Equal(t, int64(200*mib), c.Machine.DiskBandwidth)
}

// TestReferenceIsWhatTheKeysSay holds the tables of the page, which `make
// generate` writes. All else on the page is written by hand.
func TestReferenceIsWhatTheKeysSay(t *testing.T) {
	const page = "../../docs/reference/configuration.md"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	want := string(text)
	var c Config
	for _, s := range c.sections() {
		title := s.name
		if title == "" {
			title = "Top level"
		}
		before, after, found := strings.Cut(want, "\n## "+title+"\n")
		require.True(t, found, title)
		intro, table, found := strings.Cut(after, "\n| key |")
		require.True(t, found, title)
		require.NotContains(t, intro, "\n## ", title)
		_, rest, _ := strings.Cut(table, "\n\n")
		want = before + "\n## " + title + "\n" + intro + "\n" + referenceTable(s) + "\n" + rest
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	assert.Empty(t, cmp.Diff(string(text), want), "run make generate")
}

// asCode marks the values in a text.
func asCode(text string) string {
	return regexp.MustCompile(`"[^"]*"`).ReplaceAllString(oneLine(text), "`$0`")
}

func referenceTable(s section) string {
	var out strings.Builder
	out.WriteString("| key | type | default | meaning | refused |\n|---|---|---|---|---|\n")
	for _, k := range s.keys {
		kind, otherwise := k.kind, k.otherwise
		if kind == "" {
			kind = k.value.kind
		}
		switch {
		case otherwise != "":
		case k.fallback != "":
			otherwise = "`" + k.fallback + "`"
		case strings.HasPrefix(kind, "list"):
			otherwise = "empty"
		default:
			otherwise = "none"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", k.name, kind, otherwise, asCode(k.about), asCode(k.refused))
	}
	return strings.ReplaceAll(out.String(), "|  |\n", "| |\n")
}

func TestClosest(t *testing.T) {
	keys := []string{"cpus", "memory", "disk", "start_timeout"}
	for word, want := range map[string]string{
		"cpu": "cpus", "CPUs": "cpus", "memroy": "memory", "starttimeout": "start_timeout", "dsik": "disk", "colour": "", "x": "", "": "",
	} {
		assert.Equal(t, want, Closest(word, keys), "%q", word)
	}
}
