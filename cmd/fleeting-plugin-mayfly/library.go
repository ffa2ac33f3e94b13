package main

import (
	"os"

	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/wiring"
)

// version is set when a release is built.
var version = "dev"

func versionInfo() plugin.VersionInfo {
	return plugin.VersionInfo{Name: config.PluginName, Version: version}
}

// useLibrary leaves a command to the fleeting library, which reads os.Args.
func useLibrary(args ...string) {
	os.Args = append(os.Args[:1:1], args...)
	info := versionInfo()
	plugin.Main(provider.New(info, wiring.Host()), info)
}

type versionCommand struct{}

// Run prints the version as all fleeting plugins do.
func (versionCommand) Run() error {
	useLibrary("version")
	return nil
}

type bootstrapCommand struct {
	Repository string `arg:"" help:"The plugin's repository, without a version."`
}

// Run copies the plugin as all fleeting plugins do.
func (c bootstrapCommand) Run() error {
	useLibrary("bootstrap", c.Repository)
	return nil
}
