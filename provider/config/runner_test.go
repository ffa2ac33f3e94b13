package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	ours = `
[[runners]]
name = "mayfly"
[runners.autoscaler]
plugin = "/usr/local/bin/fleeting-plugin-mayfly"
max_instances = 3
[runners.autoscaler.connector_config]
username = "us"
[runners.autoscaler.plugin_config]
pool = "build"
[runners.autoscaler.plugin_config.machine]
cpus = 4
`
	second = `
[[runners]]
name = "second"
[runners.autoscaler]
plugin = "registry.example.com/mayfly-ci/fleeting-plugin-mayfly:1"
connector_config = { username = "second" }
`
	aws = `
[[runners]]
name = "aws"
[runners.autoscaler]
plugin = "aws:1"
connector_config = { username = "aws" }
`
	nameless = `
[[runners]]
[runners.autoscaler]
plugin = "fleeting-plugin-mayfly"
`
	shell = `
[[runners]]
name = "shell"
executor = "shell"
`
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestLoadFindsTheRunner(t *testing.T) {
	tests := []struct{ name, text, runner, want string }{
		{"ours among others", shell + ours + aws, "", "us"},
		{"by name", ours + second, "second", "second"},
		{"by name, another plugin", ours + aws, "aws", "aws"},
		{"the only one", aws, "", "aws"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, settings, err := config.Load(write(t, test.text), test.runner)
			require.NoError(t, err)
			assert.Equal(t, test.want, settings.Username)
		})
	}
}

func TestLoadReadsPluginConfig(t *testing.T) {
	c, settings, err := config.Load(write(t, ours), "")
	require.NoError(t, err)
	assert.Empty(t, diff(changed(func(c *config.Config) { c.Pool, c.Machine.CPUs = "build", 4 }), c))
	assert.Equal(t, config.RunnerSettings{Username: "us"}, settings)
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ name, text, runner, want string }{
		{"nothing", "", "", `there is no [[runners]] entry`},
		{"unknown name", ours + aws, "azure", `no [[runners]] entry is named "azure": choose one of "mayfly", "aws"`},
		{"two of ours", ours + second + aws, "", `more than one [[runners]] entry fits: add --runner with one of "mayfly", "second"`},
		{"two of one name", ours + ours, "mayfly", `more than one [[runners]] entry is named "mayfly": give each a name of its own`},
		{"two without a name", nameless + nameless, "", `more than one [[runners]] entry is named "": give each a name of its own`},
		{"none of ours", aws + shell, "", `no [[runners]] entry uses fleeting-plugin-mayfly: add --runner with one of "aws", "shell"`},
		{"no autoscaler", shell, "", `runner "shell" has no [runners.autoscaler]`},
		{"syntax", "a = 1\nb = = 2\n", "", `, line 2: not valid TOML: unexpected character U+003D '=' at start of value: mend that line`},
		{"another plugin's", aws + "plugin_config = { name = \"x\" }", "",
			`, runner "aws", whose plugin is "aws:1":` + "\nplugin_config.name: unknown key"},
		{"key twice", "a = 1\na = 2\n", "", `, line 2: not valid TOML: key a is already defined: mend that line`},
		{"one bracket, twice", "[runners]\n[runners]\n", "", `, line 2: not valid TOML: table runners already exists: begin each entry with [[runners]]`},
		{"a table above its entry", "[runners.autoscaler]\n[[runners]]\n", "", `, line 2: not valid TOML: ` +
			`key runners already exists as a table, but should be an array table: begin each entry with [[runners]], in two brackets, above all`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := write(t, test.text)
			_, _, err := config.Load(file, test.runner)
			require.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, file)
		})
	}
}

func TestLoadReportsAllWrongTypesAtOnce(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"one bracket", strings.Replace(ours, "[[runners]]", "[runners]", 1), `, runner "mayfly":` +
			"\nrunners: want a list of tables, have a table: write [[runners]], in two brackets"},
		{"one bracket and more", "[runners]\nname = 3\n[runners.autoscaler]\nmax_instances = \"10\"\nplugin_config = { pol = 1 }\n",
			`, runner "":` + "\nplugin_config.pol: unknown key: did you mean \"pool\"?" +
				"\nrunners: want a list of tables, have a table: write [[runners]], in two brackets" +
				"\nrunners.autoscaler.max_instances: want a whole number, have the string \"10\": write for instance 10" +
				"\nrunners.name: want a string, have the number 3: write for instance \"mayfly\""},
		{"no list", "runners = 1.5", ":\nrunners: want a list of tables, have the number 1.5: begin each entry with [[runners]]"},
		{"no table", "runners = [true]", ":\nrunners[0]: want a table, have true: begin each entry with [[runners]]"},
		{"of another entry too", shell + "tags = 1\nautoscaler = 2\n" + ours, `, runner "mayfly":` +
			"\nrunners[0].autoscaler: want a table, have the number 2: write for instance [runners.autoscaler]"},
		{"all", "[[runners]]\n[runners.autoscaler]\nplugin = 1\nmax_instances = 1.5\nconnector_config = { username = [] }\n", `, runner "":` +
			"\nrunners[0].autoscaler.connector_config.username: want a string, have a list: write for instance \"mayfly\"" +
			"\nrunners[0].autoscaler.max_instances: want a whole number, have the number 1.5: write for instance 10" +
			"\nrunners[0].autoscaler.plugin: want a string, have the number 1: write for instance \"fleeting-plugin-mayfly\""},
		{"two brackets too many", "[[runners]]\nname = \"x\"\n[[runners.autoscaler]]\n",
			":\nrunners[0].autoscaler: want a table, have a list: write for instance [runners.autoscaler]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := write(t, test.text)
			_, _, err := config.Load(file, "")
			require.EqualError(t, err, file+test.want)
		})
	}
}

// What the runner would only find out when it starts the plugin is said with
// the mistakes of plugin_config.
func TestLoadChecksTheRunnersOwnSettings(t *testing.T) {
	const head = "[[runners]]\nname = \"x\"\n[runners.autoscaler]\n"
	tests := []struct{ name, text, want string }{
		{"account", `connector_config = { username = "A b" }`, `connector_config.username: "A b" is not a valid name of an account: write a-z`},
		{"account and more", "connector_config = { username = \"A b\" }\nplugin_config = { pol = 1 }",
			"connector_config.username: \"A b\" is not a valid name of an account: write a-z or _, then up to 31 of a-z, 0-9, _, . and -\n" +
				"plugin_config.pol: unknown key: did you mean \"pool\"?"},
		{"subnet", "max_instances = 5\nplugin_config = { network = { subnet = \"10.1.0.0/29\" } }",
			`max_instances: 5 is more than the 4 workers of this pool`},
		{"max_workers", "max_instances = 3\nplugin_config = { host = { max_workers = 2 } }",
			`max_instances: 3 is more than the 2 workers of this pool`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := config.Load(write(t, head+test.text), "")
			require.ErrorContains(t, err, ":\n"+test.want)
		})
	}
	_, _, err := config.Load(write(t, head+"max_instances = 4\nplugin_config = { network = { subnet = \"10.1.0.0/29\" } }"), "")
	require.NoError(t, err, "as many as there is room for")
}

func TestLoadMissingFile(t *testing.T) {
	_, _, err := config.Load("/no/such/config.toml", "")
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "/no/such/config.toml")
}

func TestLoadIsAsStrictAsParse(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", `plugin_config = { poool = "a" }`, `plugin_config.poool: unknown key: did you mean "pool"?`},
		{"no whole number", `plugin_config = { machine = { cpus = 1.5 } }`, `plugin_config.machine.cpus: want a whole number`},
		{"try's own pool", `plugin_config = { pool = "try" }`, `plugin_config.pool: "try" is what a command`},
		{"no table", `plugin_config = 3`, `plugin_config: want a table, have the number 3`},
		{"a date", `plugin_config = { backend = 2026-01-01 }`, `plugin_config.backend: unknown backend "2026-01-01"`},
		{"no JSON", `plugin_config = { host = { max_workers = inf } }`, `plugin_config: cannot be handed over as JSON`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := write(t, "[[runners]]\nname = \"x\"\n[runners.autoscaler]\n"+test.text)
			_, _, err := config.Load(file, "")
			require.ErrorContains(t, err, file+`, runner "x":`+"\n"+test.want)
			var mistakes config.Errors
			require.ErrorAs(t, err, &mistakes)
		})
	}
}
