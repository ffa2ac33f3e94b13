// Package templates holds the files that a user may read, copy or override,
// embedded in the binary. What fills them in or checks them lives with those
// who use them.
package templates

import _ "embed"

// RunnerConfig is a complete example of GitLab Runner's config.toml for this
// plugin, with every key of plugin_config in a comment at its default.
//
//go:embed config.toml
var RunnerConfig string
