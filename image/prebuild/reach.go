package prebuild

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// trust is a command that has the distribution take up the certificates in certificateDir.
const trust = `if command -v update-ca-certificates; then update-ca-certificates
elif command -v update-ca-trust; then
  cp ` + certificateDir + `/mayfly-*.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust
else echo "neither update-ca-certificates nor update-ca-trust is there: add the package ca-certificates"; exit 1; fi`

const certificateDir = "/usr/local/share/ca-certificates"

// reach tells the image, before the steps, by which proxy it reaches the world and whom
// it trusts there. A cloud image was told so at its first boot too, for its packages.
func reach(ctx context.Context, g Guest, recipe image.Recipe, progress image.Progress) error {
	for i, certificate := range recipe.Certificates {
		to := guest.File{Path: fmt.Sprintf("%s/mayfly-%d.crt", certificateDir, i+1), Mode: 0o644}
		if err := within(ctx, choreLimit, "writing image.ca_certificates", func(ctx context.Context) error {
			return g.Put(ctx, to, strings.NewReader(certificate))
		}); err != nil {
			return err
		}
	}
	if len(recipe.Certificates) > 0 {
		progress("certificates", "")
		err := within(ctx, choreLimit, "trusting image.ca_certificates", shown(g, trust, "certificates", progress))
		if err != nil {
			return err
		}
	}
	if recipe.Proxy == "" {
		return nil
	}
	progress("proxy", "")
	command := "sh -c " + guest.Quote(image.UseProxy) + " sh " + guest.Quote(recipe.Proxy) + " " +
		guest.Quote(recipe.WithoutProxy())
	return within(ctx, choreLimit, "setting image.proxy", shown(g, command, "proxy", progress))
}
