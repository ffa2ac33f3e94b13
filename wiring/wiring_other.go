//go:build !linux

package wiring

import (
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// backends are chosen by themselves only on the system that their tool is for.
var backends = []host.Builder{
	{Name: config.BackendTart, Automatic: runtime.GOOS == "darwin", Build: buildTart},
	{Name: config.BackendBhyve, Automatic: runtime.GOOS == "freebsd", Build: buildBhyve},
	{Name: config.BackendSynthetic, Build: buildSynthetic},
}
