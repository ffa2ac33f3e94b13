package config

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/distribution"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// Image says what workers are made from.
type Image struct {
	Source image.Source
	// Packages are installed at prebuild, and then Run's shell commands are
	// run as root, in order.
	Packages []string
	Run      []string
	// Kernel is a package, or empty.
	Kernel string
	// UserData is somebody's for cloud-init, or empty.
	UserData string
	// Files, by their paths in the image, are written before the commands. Env is the
	// environment of these, beside Secrets, by the names of the variables.
	Files   map[string]File
	Env     map[string]string
	Secrets map[string]Secret
	// Proxy is a URL, and NoProxy what is reached without it. CACertificates are paths.
	Proxy          string
	NoProxy        []string
	CACertificates []string
	// Preset is one of the presets, or empty.
	Preset string
	// Refresh says when the image is made anew, Check what its first worker must pass
	// then, and Keep how long images stay that nobody uses.
	Refresh image.Refresh
	Check   []string
	Keep    time.Duration
	// PlainHTTP has a registry be asked without encryption, and VerifyKey is the path of
	// the public key that what comes from it is signed with, or empty.
	PlainHTTP bool
	VerifyKey string
}

func imageSection(c *Config) section {
	i := &c.Image
	return section{name: "image", together: c.checkImage, keys: append([]key{
		// First, as it sets all of the source.
		{name: "source", value: as(aString, &i.Source, parseSource, writeSource),
			fallback: `"debootstrap"`, example: `"https://cloud.example.org/debian-13-genericcloud-amd64.qcow2"`,
			about: `what the image is made from: "debootstrap" (packages of the host's own Debian or Ubuntu), a
				distribution's newest cloud image ("debian:13", "ubuntu:24.04", "fedora:43", "almalinux:9",
				"rockylinux:9", "opensuse:15.6"), an https:// URL, the absolute path of a file (local:/path
				means the same), or a golden image that another host has pushed, "oci:REGISTRY/NAME:TAG" or
				"…@sha256:DIGEST" ([guide](../guides/registry.md)), or one that a shell has left here, "saved:NAME"
				([guide](../guides/image.md#by-hand)). For "tart": such a reference of an image of
				Tart's, or "vm:NAME". For "bhyve": a URL, a path, or "vm:NAME@SNAPSHOT"`,
			refused: "empty; `http://`; a URL without a host; a relative path; a file that is missing, unreadable " +
				"or not regular; what the named backend cannot use"},
		{name: "digest", value: text(&i.Source.SHA256, parseDigest),
			example: `"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`,
			about:   "SHA-256 of the downloaded or local file, 64 hexadecimal digits, `sha256:` before them or not",
			refused: "another form; beside `debootstrap` or a distribution"},
		{name: "mirror", value: text(&i.Source.Mirror, parseMirror), otherwise: "the distribution's own server",
			example: `"https://mirror.example.org/debian-cloud"`,
			about: "for a distribution's image: the URL that stands for the root of its server, with the same paths " +
				"below it",
			refused: "anything but https; beside any other source"},
		{name: "keyring", value: text(&i.Source.Keyring, parseKeyring), otherwise: "the host's, where it has one",
			example: `"/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"`,
			about: "the absolute path of a file with public keys (OpenPGP): for a distribution's image those that " +
				"sign the digests of its images, and nothing else is taken then; for `debootstrap` those that sign " +
				"the archive, besides what the host's sources name",
			refused: "a relative path; beside any other source"},
		{name: "suite", value: text(&i.Source.Suite, parseSuite), otherwise: "the host's release", example: `"trixie"`,
			about:   "the release for `debootstrap`, of the host's distribution and on its mirrors",
			refused: "another form; beside any other source"},
		{name: "variant", value: text(&i.Source.Variant, parseVariant), otherwise: `"minbase"`, example: `"buildd"`,
			about: "the packages that `debootstrap` begins with, as mmdebstrap calls them: \"apt\", \"minbase\", " +
				"\"buildd\", \"important\" or \"standard\"",
			refused: "other words; beside any other source"},
		{name: "components", value: list(&i.Source.Components, parseComponent), otherwise: "the host's",
			example: `["main", "contrib", "non-free-firmware"]`,
			about:   "the parts of the distribution's archive for `debootstrap`",
			refused: "another form; beside any other source"},
		{name: "extra_sources", value: list(&i.Source.ExtraSources, parseExtraSource),
			example: `["deb [signed-by=/usr/share/keyrings/tools.gpg] https://apt.example.org stable main"]`,
			about: "other archives for `debootstrap`, as lines of sources.list. Files of keys that they name are " +
				"read on this host, and are in the image too",
			refused: "what does not begin with `deb `; beside any other source"},
		{name: "packages", value: list(&i.Packages, parsePackage), example: `["git"]`,
			about:   "packages to install when the image is built, without recommended ones for `debootstrap`",
			refused: "what is not a valid name of a package"},
		{name: "kernel", value: text(&i.Kernel, parsePackage), example: `"linux-image-amd64"`,
			otherwise: "one that `packages` or `run` install, else the distribution's for virtual machines",
			about: "the package of the kernel that virtual machines boot, on Debian and Ubuntu. `image list` says " +
				"which it is ([guide](../guides/image.md#the-kernel))",
			refused: "what is not a valid name of a package; beside a kernel in `packages` (linux-image-…); for " +
				"another distribution; with the backends \"nspawn\", \"tart\" and \"bhyve\""},
		{name: "run", value: list(&i.Run, parseCommand), example: `["apt-get install -y git"]`,
			about:   "shell commands, run as root, in order, once, when the image is built",
			refused: "an empty command; one with a NUL in it, or of more than 60 KiB"},
		{name: "preset", value: word(&i.Preset, presetNames()...), example: `"docker"`,
			about: "packages and commands for a purpose, in addition to the other keys. \"docker\" is Docker Engine " +
				"of the distribution, Debian or Ubuntu, with jobs' user in its group, and answering before the " +
				"worker is ready ([guide](../guides/docker.md))",
			refused: "unknown words; with the backends \"nspawn\", \"tart\" and \"bhyve\""},
	}, slices.Concat(i.inputs(), refreshKeys(i), registryKeys(i))...)}
}

// checkImage refuses keys that say something about another source, and a source
// that the backend cannot use.
func (c *Config) checkImage(r *reading) {
	c.checkPreset(r)
	c.checkRefresh(r)
	c.checkInputs(r)
	c.checkKernel(r)
	if r.wrong("image.source") {
		return
	}
	c.checkSource(r)
	c.checkRegistry(r)
	c.checkSaved(r)
	kind := c.Image.Source.Kind
	for _, key := range []string{"image.suite", "image.variant", "image.components", "image.extra_sources"} {
		if kind != image.Debootstrap && r.gave(key) {
			r.refuse(key, "contradicts image.source, which is not %q: remove one of the two", image.Debootstrap)
		}
	}
	if kind != image.Distribution && r.gave("image.mirror") {
		r.refuse("image.mirror", "contradicts image.source, which is no distribution such as \"debian:13\": "+
			"remove one of the two")
	}
	if kind != image.Distribution && kind != image.Debootstrap && r.gave("image.keyring") {
		r.refuse("image.keyring", "contradicts image.source, which is neither %q nor a distribution such as "+
			"\"debian:13\": remove one of the two", image.Debootstrap)
	}
	if kind == image.Distribution && r.gave("image.digest") {
		r.refuse("image.digest", "contradicts image.source, which is the newest image of a distribution: "+
			"remove it, or write the URL of the image as image.source")
	}
	if (kind == image.OCI || kind == image.VM || kind == image.Saved) && r.gave("image.digest") {
		r.refuse("image.digest", "contradicts image.source, which is not a file: "+
			"remove it; a reference may end in @sha256:DIGEST")
	}
	if kind == image.Debootstrap && r.gave("image.digest") {
		r.refuse("image.digest", "contradicts image.source %q, which is not a file: "+
			"remove it, or name a file or a URL as image.source", kind)
	}
}

// checkKernel refuses a kernel that nobody would boot.
func (c *Config) checkKernel(r *reading) {
	if !r.gave("image.kernel") {
		return
	}
	distribution, _, _ := strings.Cut(c.Image.Source.Location, ":")
	switch {
	case c.entersBySSH() || c.Backend == BackendNspawn:
		r.refuse("image.kernel", "workers of the backend %q boot no kernel of the image's packages: remove it",
			c.foreign())
	case c.Image.Source.Kind == image.Distribution && distribution != "debian" && distribution != "ubuntu":
		r.refuse("image.kernel", "is for Debian and Ubuntu, and not for image.source %q: remove one of the two",
			c.Image.Source.Location)
	}
	for n, name := range c.Image.Packages {
		if strings.HasPrefix(name, "linux-image-") {
			r.add(tomlfile.At(r.path("image.packages"), n), "%q is a kernel, and image.kernel is another: "+
				"remove one of the two", name)
		}
	}
}

// checkPreset refuses a preset where the backend's workers cannot run it.
func (c *Config) checkPreset(r *reading) {
	if !r.gave("image.preset") {
		return
	}
	distribution, _, _ := strings.Cut(c.Image.Source.Location, ":")
	switch {
	case c.Image.Source.Kind == image.Distribution && distribution != "debian" && distribution != "ubuntu":
		r.refuse("image.preset", "%q is for Debian and Ubuntu, and not for image.source %q: remove one of the two",
			c.Image.Preset, c.Image.Source.Location)
	case c.entersBySSH():
		r.refuse("image.preset", "the backend %q has no presets: remove it, and use an image that has what jobs need",
			c.foreign())
	case c.Backend == BackendNspawn:
		r.refuse("image.preset", "%q does not run in containers of the backend %q, which may not make the system "+
			"calls that it needs: use backend \"qemu\", or remove it", c.Image.Preset, c.Backend)
	}
}

// sourcesOf are the kinds of images that a backend can use, where they are not
// those of a Linux host.
var sourcesOf = map[string][]string{
	BackendTart:      {image.OCI, image.VM},
	BackendBhyve:     {image.HTTPS, image.Local, image.VM},
	BackendSynthetic: {image.Debootstrap, image.Distribution, image.HTTPS, image.Local, image.OCI, image.VM, image.Saved},
}

// checkSource refuses an image that the backend cannot use, when the backend
// is named. Otherwise the one that is chosen says so.
func (c *Config) checkSource(r *reading) {
	if c.Backend == BackendAuto || r.wrong("backend") {
		return
	}
	kinds := sourcesOf[c.Backend]
	if kinds == nil {
		kinds = []string{image.Debootstrap, image.Distribution, image.HTTPS, image.Local, image.OCI, image.Saved}
	}
	if kind := c.Image.Source.Kind; !slices.Contains(kinds, kind) {
		r.refuse("image.source", "%q is not a valid image for backend %q, which takes %s",
			writeSource(c.Image.Source), c.Backend, describeKinds(kinds))
	}
}

func describeKinds(kinds []string) string {
	words := map[string]string{
		image.Debootstrap: `"debootstrap"`, image.Distribution: `a distribution such as "debian:13"`,
		image.HTTPS: "an https:// URL", image.Local: "the absolute path of a file",
		image.Saved: `"saved:NAME"`,
		image.OCI:   `"oci:REGISTRY/NAME:TAG"`, image.VM: `"vm:NAME" (for "bhyve" "vm:NAME@SNAPSHOT") of a machine ` +
			`that is there`,
	}
	var all []string
	for _, kind := range kinds {
		all = append(all, words[kind])
	}
	return strings.Join(all, ", ")
}

// parseSource takes what the prefix says and guesses nothing.
func parseSource(text string) (image.Source, error) {
	switch path, local := strings.CutPrefix(text, image.Local+":"); {
	case text == "":
		return image.Source{}, errors.New("empty: " + sources)
	case text == image.Debootstrap:
		return image.Source{Kind: image.Debootstrap}, nil
	case strings.HasPrefix(text, "https://"):
		return parseURL(text)
	case strings.HasPrefix(text, "http://"):
		source := image.Source{Kind: image.HTTPS, Location: text}
		return image.Source{}, fmt.Errorf("%q could be changed on its way: "+
			"use https://, or download it yourself and write its path", source.Public())
	case strings.HasPrefix(text, image.OCI+":"):
		return parseReference(strings.TrimPrefix(text, image.OCI+":"))
	case strings.HasPrefix(text, image.VM+":"):
		return parseMachine(strings.TrimPrefix(text, image.VM+":"))
	case strings.HasPrefix(text, image.Saved+":"):
		return parseSaved(strings.TrimPrefix(text, image.Saved+":"))
	case local || filepath.IsAbs(text):
		return parseFile(path)
	case distribution.Known(text):
		if _, err := distribution.Find(text, runtime.GOARCH); err != nil {
			return image.Source{}, err
		}
		return image.Source{Kind: image.Distribution, Location: text}, nil
	default:
		return image.Source{}, fmt.Errorf("unknown source %q: %s", text, sources)
	}
}

// sources says how to mend a source.
const sources = `write "debootstrap", a distribution such as "debian:13", an https:// URL, ` +
	`the absolute path of a file, "oci:REGISTRY/NAME:TAG", or "saved:NAME"`

func parseMirror(text string) (string, error) {
	address, err := url.Parse(text)
	if err != nil || address.Scheme != "https" || address.Host == "" || address.RawQuery != "" || address.User != nil {
		return "", errors.New("not a valid https:// URL without a user: " +
			`write for instance "https://mirror.example.org/debian-cloud"`)
	}
	return text, nil
}

func parseKeyring(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: "+
			"write for instance \"/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg\"", path)
	}
	return filepath.Clean(path), nil
}

// parseVariant makes nothing of the default: an image that names it is the same.
func parseVariant(text string) (string, error) {
	if text == "minbase" {
		return "", nil
	}
	return oneOf("apt", "buildd", "important", "minbase", "standard")(text)
}

func parseURL(text string) (image.Source, error) {
	source := image.Source{Kind: image.HTTPS, Location: text}
	address, err := url.Parse(text)
	if err != nil || address.Host == "" {
		return image.Source{}, errors.New("not a valid URL, and not shown, for it may hold a password: " +
			"write for instance \"https://example.org/debian.qcow2\"")
	}
	return source, nil
}

func parseFile(path string) (image.Source, error) {
	if !filepath.IsAbs(path) {
		return image.Source{}, fmt.Errorf("%q is not an absolute path: write for instance \"local:/srv/debian.qcow2\"",
			path)
	}
	if err := checkReadable(path); err != nil {
		return image.Source{}, err
	}
	return image.Source{Kind: image.Local, Location: filepath.Clean(path)}, nil
}

// checkReadable looks before it opens, because opening a pipe would wait.
func checkReadable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot read %q, %w: check the path", path, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file: write the path of a file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read %q, %w: let the runner's user read it", path, errors.Unwrap(err))
	}
	return file.Close()
}

func parseDigest(text string) (string, error) {
	digits := strings.ToLower(strings.TrimPrefix(text, "sha256:"))
	if sum, err := hex.DecodeString(digits); err != nil || len(sum) != 32 {
		return "", fmt.Errorf("%q is not a valid SHA-256: write 64 hexadecimal digits, as sha256sum prints them", text)
	}
	return digits, nil
}

var (
	ociReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[A-Za-z0-9][A-Za-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})?$`)
	machineName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?$`)
)

func parseReference(text string) (image.Source, error) {
	if !ociReference.MatchString(text) {
		return image.Source{}, fmt.Errorf("%q is not a valid reference of an image: "+
			"write for instance \"oci:registry.example.org/macos/base:latest\"", text)
	}
	return image.Source{Kind: image.OCI, Location: text}, nil
}

func parseMachine(text string) (image.Source, error) {
	if !machineName.MatchString(text) {
		return image.Source{}, errors.New("\"vm:\" wants the name of a machine that is there: " +
			"write for instance \"vm:base\", or \"vm:base@snapshot\"")
	}
	return image.Source{Kind: image.VM, Location: text}, nil
}

func writeSource(source image.Source) any {
	switch {
	case source.Location == "":
		return source.Kind
	case source.Kind == image.OCI || source.Kind == image.VM || source.Kind == image.Saved:
		return source.Kind + ":" + source.Location
	}
	return source.Location
}

// The patterns keep a name from being taken for an option or for two names
// by the package manager.
var (
	parseSuite = matching(regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`),
		`is not a valid name of a release: write for instance "trixie"`)
	parseComponent = matching(regexp.MustCompile(`^[a-z0-9][a-z0-9/-]*$`),
		`is not a valid name of a component: write for instance "main"`)
	parseExtraSource = matching(regexp.MustCompile(`^deb (\[[^\]\r\n]*\] )?[^\s]+( [^\s]+)+$`),
		`is no source of packages: write for instance "deb https://apt.example.org stable main"`)
	parsePackage = matching(regexp.MustCompile(`^[A-Za-z0-9@][A-Za-z0-9@+._:=~/-]*$`),
		`is not a valid name of a package: write one name in each string, for instance "git"`)
)

// maxCommand is how many bytes a command may have, as JSON: a line to the guest's
// agent has 64 KiB, with what stands around it.
const maxCommand = 60 << 10

func parseCommand(command string) (string, error) {
	if strings.TrimSpace(command) == "" {
		return "", errors.New("empty: write a shell command, or remove it")
	}
	if line, err := json.Marshal(command); err != nil || strings.ContainsRune(command, 0) || len(line) > maxCommand {
		return "", fmt.Errorf("has a NUL in it, or more than %d bytes: have it fetch a script instead", maxCommand)
	}
	return command, nil
}
