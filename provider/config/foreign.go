package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// foreign is the backend, if it is one whose images have accounts already and
// are entered by SSH: chosen by its name, or by the system that this is.
func (c Config) foreign() string {
	switch {
	case c.Backend != BackendAuto:
		return c.Backend
	case runtime.GOOS == "darwin":
		return BackendTart
	case runtime.GOOS == "freebsd":
		return BackendBhyve
	}
	return ""
}

// defaultUser is whom jobs log in as when the runner names nobody.
func (c Config) defaultUser() string {
	users := map[string]string{BackendTart: c.Tart.User, BackendBhyve: c.Bhyve.User}
	return cmp.Or(users[c.foreign()], DefaultUser)
}

// sourcesOf are the kinds of images that a backend can use, where they are not
// those of a Linux host.
var sourcesOf = map[string][]string{
	BackendTart:      {image.OCI, image.VM},
	BackendBhyve:     {image.HTTPS, image.Local, image.VM},
	BackendSynthetic: {image.Debootstrap, image.HTTPS, image.Local, image.OCI, image.VM},
}

// checkSource refuses an image that the backend cannot use, when the backend
// is named. Otherwise the one that is chosen says so.
func (r raw) checkSource(m *Errors, c Config) {
	if c.Backend == BackendAuto || m.has(r.image.source.path) || m.has(r.backend.path) {
		return
	}
	kinds := sourcesOf[c.Backend]
	if kinds == nil {
		kinds = []string{image.Debootstrap, image.HTTPS, image.Local}
	}
	if kind := c.Image.Source.Kind; !slices.Contains(kinds, kind) {
		m.add(r.image.source.path, "%q is no image for backend %q, which takes %s", writeSource(c.Image.Source), c.Backend, describeKinds(kinds))
	}
}

func describeKinds(kinds []string) string {
	words := map[string]string{
		image.Debootstrap: `"debootstrap"`, image.HTTPS: "an https:// URL", image.Local: "the absolute path of a file",
		image.OCI: `"oci:REGISTRY/NAME:TAG"`, image.VM: `"vm:NAME" (for "bhyve" "vm:NAME@SNAPSHOT") of a machine that is there`,
	}
	var all []string
	for _, kind := range kinds {
		all = append(all, words[kind])
	}
	return strings.Join(all, ", ")
}

var (
	ociReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[A-Za-z0-9][A-Za-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})?$`)
	machineName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?$`)
)

func parseReference(text string) (image.Source, error) {
	if !ociReference.MatchString(text) {
		return image.Source{}, fmt.Errorf("%q is no reference of an image: write for instance \"oci:registry.example.org/macos/base:latest\"", text)
	}
	return image.Source{Kind: image.OCI, Location: text}, nil
}

func parseMachine(text string) (image.Source, error) {
	if !machineName.MatchString(text) {
		return image.Source{}, errors.New("\"vm:\" wants the name of a machine that is there: write for instance \"vm:base\", or \"vm:base@snapshot\"")
	}
	return image.Source{Kind: image.VM, Location: text}, nil
}
