package config

import (
	"fmt"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// registryKeys are those of the section image about what comes from a registry.
func registryKeys(i *Image) []key {
	return []key{
		{name: "plain_http", value: boolean(&i.PlainHTTP), fallback: `false`,
			about: "speak http with the registry of an `oci:` source, without encryption",
			refused: "`true` beside any other source, or with the backend \"tart\", which has a key of its own, " +
				"`tart.insecure`"},
		{name: "verify_key", value: text(&i.VerifyKey, parseVerifyKey), otherwise: "no signature is asked for",
			example: `"/etc/mayfly/cosign.pub"`,
			about: "for an `oci:` source: the absolute path of a public key, ECDSA on P-256, that the image must be " +
				"signed with ([guide](../guides/registry.md#signatures))",
			refused: "a relative path; beside any other source; with the backend \"tart\""},
	}
}

func parseVerifyKey(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: write for instance \"/etc/mayfly/cosign.pub\"", path)
	}
	return filepath.Clean(path), nil
}

// checkRegistry refuses keys about registries beside another source, and steps for an
// image that is finished.
func (c *Config) checkRegistry(r *reading) {
	pulls := c.Image.Source.Kind == image.OCI && c.foreign() != BackendTart
	const foreign = "is for an image.source such as \"oci:registry.example.org/mayfly/debian:13\" of a Linux host: " +
		"remove it"
	if c.Image.PlainHTTP && !pulls {
		r.refuse("image.plain_http", foreign)
	}
	if r.gave("image.verify_key") && !pulls {
		r.refuse("image.verify_key", foreign)
	}
	if c.Image.Source.Kind == image.OCI && r.gave("image.refresh") {
		r.refuse("image.refresh", "contradicts image.source %q, which is renewed where it is built: remove it",
			writeSource(c.Image.Source))
	}
	// Where no backend is named it may be Tart, which takes commands. Others refuse them when
	// they pull.
	if !pulls || c.Backend == BackendSynthetic || c.Backend == BackendAuto {
		return
	}
	for _, key := range []string{
		"image.packages", "image.run", "image.preset", "image.files", "image.env", "image.secrets", "image.user_data",
		"image.kernel", "image.proxy", "image.no_proxy", "image.ca_certificates",
	} {
		if r.gave(key) {
			r.refuse(key, "contradicts image.source %q, which is a finished image: "+
				"set it where that is built, and push it from there", writeSource(c.Image.Source))
		}
	}
}
