package migrate_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/lint"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/migrate"
)

var update = flag.Bool("update", false, "write what is made into testdata")

// Each file of testdata is a set-up and what is made of it, which `config check` takes.
func TestSetUps(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.Len(t, files, 7)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			given, want := archive.Files[0], &archive.Files[1]
			made, err := migrate.Text(given.Name, string(given.Data))
			require.NoError(t, err)
			if *update {
				want.Data = []byte(made)
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			assert.Equal(t, string(want.Data), made)
			everyChangeHasARemark(t, string(given.Data), made)
			findings := check(t, made)
			assert.False(t, lint.Refused(findings), "%v", findings)
			for _, f := range findings {
				assert.Contains(t, []string{"memory", "docker-image"}, f.Rule, f.Text)
			}
		})
	}
}

func check(t *testing.T, text string) []lint.Finding {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	findings, err := lint.Check(file, func(config.Config) int64 { return 64 << 30 })
	require.NoError(t, err)
	return findings
}

// everyChangeHasARemark wants each run of new lines to begin with one, and each line that
// is no longer there, but for comments, to be quoted in one.
func everyChangeHasARemark(t *testing.T, before, after string) {
	t.Helper()
	old, inRun := strings.Split(before, "\n"), false
	for line := range strings.SplitSeq(after, "\n") {
		isNew := !slices.Contains(old, line)
		if isNew && !inRun {
			assert.Contains(t, line, "# mayfly: ")
		}
		inRun = isNew
	}
	for _, line := range old {
		assert.Contains(t, after, strings.TrimSpace(line))
	}
}

func TestWhatIsNotKnownIsSaid(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"another plugin": {"config.toml", "[[runners]]\n[runners.autoscaler]\nplugin = \"aws\"\n",
			"no [[runners]] entry is fleetingd's"},
		"no table of its own": {"config.toml", "[[runners]]\n[runners.autoscaler]\nplugin = \"fleetingd\"\n" +
			"plugin_config = { vm_num_cpu_cores = 2, vm_memory_mb = 2048 }\n",
			"line 4: write each key on a line of its own"},
		"another program": {"config.toml", "[[runners]]\nexecutor = \"custom\"\ncustom.run_exec = \"/opt/start.sh\"\n",
			"no [[runners]] entry is fleetingd's"},
		"no TOML":         {"config.toml", "a = = 1", "toml: "},
		"no guest":        {"base.conf", "a=1\n", "no configuration of a guest of vm-bhyve"},
		"no guest's name": {"a b.conf", "loader=uefi\n", `"a b" is not a valid name of a guest`},
		"both": {"config.toml", "[[runners]]\n[runners.autoscaler]\nplugin = \"fleetingd\"\n" +
			"[runners.autoscaler.plugin_config]\nvm_num_cpu_cores = 2\n" +
			"[runners.autoscaler.plugin_config.machine]\nmemory = \"1GiB\"\n", "it has keys of ours beside those"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := migrate.Text(test.file, test.text)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// Whatever somebody hands over, the result is TOML or an error.
func FuzzText(f *testing.F) {
	f.Add("config.toml", "[[runners]]\nplugin = \"fleetingd\"\n"+
		"[runners.autoscaler.plugin_config]\nvm_subnet = \"1.2.3.\"\n")
	f.Add("config.toml", "[[runners]]\nexecutor = \"custom\"\n"+
		"custom = { prepare_exec = \"tart\", prepare_args = [\"--cpu\"] }\n")
	f.Add("x.conf", "loader=\ncpu=\"\nmemory=4G")
	f.Fuzz(func(t *testing.T, name, text string) {
		made, err := migrate.Text(name, text)
		if err == nil {
			check(t, made)
		}
	})
}
