//go:build !linux

package wiring

import (
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// system is what only some systems have. A backend is automatic only on the system
// that its tool is for.
func system() *host.Host {
	return &host.Host{Backends: []host.Builder{
		{Name: config.BackendTart, Automatic: runtime.GOOS == "darwin", Build: buildTart},
		{Name: config.BackendBhyve, Automatic: runtime.GOOS == "freebsd", Build: buildBhyve},
		{Name: config.BackendSynthetic, Build: buildSynthetic},
	}}
}

// Machines that can be forked run on Linux only.
func unfinishedTemplates(config.Config) ([]diskspace.Leftover, error) { return nil, nil }
func templateImages(string) ([]string, error)                         { return nil, nil }
