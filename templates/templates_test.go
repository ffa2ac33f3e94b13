package templates_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/metrics"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// The plugin cannot push: with the runner's own interval of a minute, a worker
// that dies goes unnoticed for so long.
func TestRunnerConfigAsksOften(t *testing.T) {
	assert.Regexp(t, `(?m)^ *update_interval = "5s"$`, templates.RunnerConfig)
	assert.Regexp(t, `(?m)^ *update_interval_when_expecting = "250ms"$`, templates.RunnerConfig)
}

// promtool runs Prometheus' own tool, whose parser is that of the server.
func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	need.Programs(t, "promtool")
	out, err := exec.Command("promtool", arguments...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// queries are those of the dashboard's panels, and of what its variables are chosen from.
func queries(t *testing.T) (all []string) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	require.NoError(t, json.Unmarshal(templates.Dashboard, &dashboard))
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	require.NotEmpty(t, all)
	for _, variable := range dashboard.Templating.List {
		if metric := regexp.MustCompile(`^label_values\((\w+), \w+\)$`).FindStringSubmatch(variable.Query); metric != nil {
			all = append(all, metric[1])
		}
	}
	return all
}

// TestDashboardAsksWhatPrometheusUnderstands reads every query as Prometheus does, with
// what Grafana puts into it.
func TestDashboardAsksWhatPrometheusUnderstands(t *testing.T) {
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	for i, query := range queries(t) {
		query = strings.NewReplacer("$__rate_interval", "5m", "$host", ".*", "$pool", ".*").Replace(query)
		require.NotContains(t, query, "$")
		rules += fmt.Sprintf("      - {record: 'query:%d', expr: %q}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	promtool(t, "check", "rules", file)
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "testdata/alerts_test.yml")
}

// ours finds names of metrics of ours in a text.
var ours = regexp.MustCompile(`\b(?:mayfly|fleeting)_[a-z_]+`)

// TestOnlyMetricsThatThereAreAreAskedFor in the dashboard and in the alerts, and their tests.
func TestOnlyMetricsThatThereAreAreAskedFor(t *testing.T) {
	there := make(map[string]bool)
	for _, metric := range metrics.All() {
		there[metric.Name] = true
		if metric.Kind == "histogram" {
			delete(there, metric.Name)
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				there[metric.Name+suffix] = true
			}
		}
	}
	tested, err := os.ReadFile("testdata/alerts_test.yml")
	require.NoError(t, err)
	for _, text := range append(queries(t), string(templates.Alerts), string(tested)) {
		names := ours.FindAllString(text, -1)
		require.NotEmpty(t, names, text)
		for _, name := range names {
			assert.True(t, there[name], name)
		}
	}
}
