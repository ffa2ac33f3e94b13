package wiring

import (
	"context"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/oci"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func registry(c config.Config, t host.Transfer) host.Registry { return newRegistry(c, t) }

func newRegistry(c config.Config, t host.Transfer) *oci.Registry {
	return oci.New(oci.Options{
		Images: c.ImagesDir(), Downloads: filepath.Join(c.StateDir, "downloads"),
		PlainHTTP: t.PlainHTTP, VerifyKey: t.VerifyKey,
	})
}

// pull brings what a pool's image.source names.
func pull(c config.Config) func(context.Context, image.Recipe, image.Progress) (image.Golden, error) {
	return newRegistry(c, host.Transfer{PlainHTTP: c.Image.PlainHTTP, VerifyKey: c.Image.VerifyKey}).Golden
}
