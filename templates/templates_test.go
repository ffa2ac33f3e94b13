package templates_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

var (
	commented = regexp.MustCompile(`(?m)^( *)# ([a-z_]+ = )`)
	other     = regexp.MustCompile(`(?m)^( *)## ([a-z_]+ = )`)
	replaced  = regexp.MustCompile(`(?m)^ *# (source|suite) = .*$`)
)

func load(t *testing.T, text string) (config.Config, config.RunnerSettings) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c, settings, err := config.Load(file, "")
	require.NoError(t, err)
	return c, settings
}

func uncomment(text string) string { return commented.ReplaceAllString(text, "$1$2") }

func TestRunnerConfigGivesTheDefaults(t *testing.T) {
	c, settings := load(t, templates.RunnerConfig)
	assert.Equal(t, config.Default(), c)
	assert.Equal(t, config.RunnerSettings{Username: "mayfly"}, settings)
}

// The plugin cannot push: with the runner's own interval of a minute, a worker
// that dies goes unnoticed for so long.
func TestRunnerConfigAsksOften(t *testing.T) {
	assert.Regexp(t, `(?m)^ *update_interval = "5s"$`, templates.RunnerConfig)
	assert.Regexp(t, `(?m)^ *update_interval_when_expecting = "250ms"$`, templates.RunnerConfig)
}

func TestRunnerConfigUncommentedChangesOnlyTheExamples(t *testing.T) {
	c, _ := load(t, uncomment(templates.RunnerConfig))

	want := config.Default()
	want.Image.Source.Suite = "trixie"
	want.Image.Packages = []string{"git", "podman"}
	want.Image.Run = []string{"systemctl enable podman.socket"}
	want.Network.Egress = "eth0"
	want.Network.Allow = []network.Destination{{Prefix: netip.MustParsePrefix("192.168.1.10/32")}}
	want.Network.Deny = network.DefaultDeny()
	want.Network.DNS = []netip.Addr{netip.MustParseAddr("9.9.9.9")}
	assert.Equal(t, want, c)
}

func TestRunnerConfigWithTheOtherSource(t *testing.T) {
	text := replaced.ReplaceAllString(templates.RunnerConfig, "")
	c, _ := load(t, uncomment(other.ReplaceAllString(text, "$1$2")))
	assert.Equal(t, image.HTTPS, c.Image.Source.Kind)
	assert.Len(t, c.Image.Source.SHA256, 64)
	assert.Equal(t, []string{"gitlab.example.com", "*.debian.org"}, c.Network.Domains)
	assert.Equal(t, int64(100e6), c.Network.Bandwidth)
}
