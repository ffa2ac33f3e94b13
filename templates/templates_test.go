package templates_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// The plugin cannot push: with the runner's own interval of a minute, a worker
// that dies goes unnoticed for so long.
func TestRunnerConfigAsksOften(t *testing.T) {
	assert.Regexp(t, `(?m)^ *update_interval = "5s"$`, templates.RunnerConfig)
	assert.Regexp(t, `(?m)^ *update_interval_when_expecting = "250ms"$`, templates.RunnerConfig)
}
