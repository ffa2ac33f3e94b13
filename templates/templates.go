// Package templates holds the files that a user may read and copy, embedded in
// the binary. What fills them in or checks them lives with those who use them.
package templates

import _ "embed"

// RunnerConfig is the runner's own part of a complete config.toml for this plugin, as
// a text/template of which executor it is for. The keys of plugin_config, which
// provider/config knows, come after it.
//
//go:embed config.toml
var RunnerConfig string

// Alerts are rules for Prometheus, and Dashboard is one for Grafana, on the metrics that
// are served.
var (
	//go:embed alerts.yml
	Alerts []byte
	//go:embed dashboard.json
	Dashboard []byte
)
