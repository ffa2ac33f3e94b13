package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// A config.toml that is taken by us is handed over by the runner as it is read here.
func FuzzRunners(f *testing.F) {
	f.Add([]byte("[[runners]]\nname = \"a\"\n[runners.autoscaler]\nplugin = \"fleeting-plugin-mayfly\"\n"))
	f.Add([]byte("[runners]\n[runners.autoscaler.plugin_config.image]\nrun = [[[[[[]]]]]]\n"))
	f.Add([]byte("runners = [{autoscaler={plugin_config={pool=1979-05-27T07:32:00Z, host={max_workers=0x10}}}}, 7]"))
	f.Add([]byte("\x00[[runners]]\n\"\\n\" = nan"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := tomlfile.Parse(data)
		if err != nil {
			return
		}
		entries, mistakes := Runners(file)
		for _, entry := range entries {
			if c, err := entry.parse(mistakes); err == nil {
				require.NotEmpty(t, c.Pool)
			}
		}
	})
}

// Nesting costs a parser memory for each level, and may cost it its stack.
func TestConfigurationsThatAreTooMuch(t *testing.T) {
	const inside = "[[runners]]\n[runners.autoscaler.plugin_config]\npool = "
	for name, text := range map[string]string{
		"lists in lists":   inside + strings.Repeat("[", maxConfig/2) + strings.Repeat("]", maxConfig/2-len(inside)),
		"lists, open":      inside + strings.Repeat("[", maxConfig-len(inside)),
		"tables in tables": inside + strings.Repeat("{a=", maxConfig/4),
		"a long key":       strings.Repeat("a.", maxConfig/2-2) + "a=1",
		"a long name":      inside + `"` + strings.Repeat("a", maxConfig-len(inside)-2) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.toml")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			_, _, err := Load(file, "")
			require.Error(t, err)
		})
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, make([]byte, maxConfig+1), 0o600))
	_, _, err := Load(file, "")
	require.ErrorContains(t, err, file+" has more than the 524288 bytes that are read")

	_, err = Parse([]byte(`{"pool":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"))
	require.ErrorContains(t, err, "plugin_config: not valid JSON: ")
	_, err = Parse([]byte(`{"pool":"` + strings.Repeat("a", maxConfig) + `"}`))
	require.ErrorContains(t, err, "plugin_config: has 524299 bytes, more than the 524288 that are read")
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	long := strings.Repeat("a", 25)
	for _, name := range []string{"../x", "a/b", "..", ".", "a\\u0000", "a\\nb", "-a", "a-", "é", "A", long} {
		_, err := Parse([]byte(`{"pool":"` + name + `"}`))
		require.ErrorContains(t, err, "pool: ", name)
		require.ErrorContains(t, err, "use up to 24 of a-z, 0-9 and -", name)
		require.NotContains(t, err.Error(), "\n", name)
	}
	for _, path := range []string{"/var/lib\\u0000x", "/a\\nb", "/a,b", "var/lib", "/" + strings.Repeat("a/", 4096)} {
		_, err := Parse([]byte(`{"state_dir":"` + path + `"}`))
		require.ErrorContains(t, err, "state_dir: ", path)
	}
	for key, value := range map[string]string{
		"source": `"/tmp/a\u0000b"`, "run": `["echo \u0000"]`, "suite": `"../x"`,
		"packages": `["../x", "-o", "a b", "a\nb"]`,
	} {
		_, err := Parse([]byte(`{"image":{"` + key + `":` + value + `}}`))
		require.ErrorContains(t, err, "image."+key, value)
	}
	_, err := Parse([]byte(`{"image":{"run":["` + strings.Repeat("a", maxCommand) + `"]}}`))
	require.ErrorContains(t, err, "more than 61440 bytes")
}
