package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Both patterns keep a name from being taken for an option or for two names
// by the package manager.
var (
	suiteName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	packageName = regexp.MustCompile(`^[A-Za-z0-9@][A-Za-z0-9@+._:=~/-]*$`)
)

func (r rawImage) parse(m *Errors, to *Image) {
	set(m, r.source, &to.Source, parseSource)
	set(m, r.digest, &to.Source.SHA256, parseDigest)
	set(m, r.suite, &to.Source.Suite, parseSuite)
	setEach(m, r.packages, &to.Packages, parsePackage)
	setEach(m, r.run, &to.Run, parseCommand)
	if !m.has(r.source.path) {
		r.checkContradictions(m, to.Source.Kind)
	}
}

func (r rawImage) checkContradictions(m *Errors, kind string) {
	if kind != image.Debootstrap && r.suite.set {
		m.add(r.suite.path, "contradicts image.source, which is no %q: remove one of the two", image.Debootstrap)
	}
	if (kind == image.OCI || kind == image.VM) && r.digest.set {
		m.add(r.digest.path, "contradicts image.source, which is no file: remove it; a reference may end in @sha256:DIGEST")
	}
	if kind == image.Debootstrap && r.digest.set {
		m.add(r.digest.path, "contradicts image.source %q, which is no file: "+
			"remove it, or name a file or a URL as image.source", kind)
	}
}

// parseSource takes what the prefix says and guesses nothing.
func parseSource(text string) (image.Source, error) {
	switch path, local := strings.CutPrefix(text, image.Local+":"); {
	case text == "":
		return image.Source{}, errors.New(`empty: write "debootstrap", an https:// URL or the absolute path of a file`)
	case text == image.Debootstrap:
		return image.Source{Kind: image.Debootstrap}, nil
	case strings.HasPrefix(text, "https://"):
		return parseURL(text)
	case strings.HasPrefix(text, "http://"):
		return image.Source{}, fmt.Errorf("%q could be changed on its way: use https://, "+
			"or download it yourself and write its path", text)
	case strings.HasPrefix(text, image.OCI+":"):
		return parseReference(strings.TrimPrefix(text, image.OCI+":"))
	case strings.HasPrefix(text, image.VM+":"):
		return parseMachine(strings.TrimPrefix(text, image.VM+":"))
	case local || filepath.IsAbs(text):
		return parseFile(path)
	default:
		return image.Source{}, fmt.Errorf("unknown source %q: write \"debootstrap\", an https:// URL "+
			"or the absolute path of a file", text)
	}
}

func parseURL(text string) (image.Source, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" {
		return image.Source{}, fmt.Errorf("%q is no URL: write for instance \"https://example.org/debian.qcow2\"", text)
	}
	return image.Source{Kind: image.HTTPS, Location: text}, nil
}

func parseFile(path string) (image.Source, error) {
	if !filepath.IsAbs(path) {
		return image.Source{}, fmt.Errorf("%q is not an absolute path: write for instance \"local:/srv/debian.qcow2\"", path)
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
		return fmt.Errorf("%q is not a regular file: write the path of an image", path)
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
		return "", fmt.Errorf("%q is no SHA-256: write 64 hexadecimal digits, as sha256sum prints them", text)
	}
	return digits, nil
}

func parseSuite(name string) (string, error) {
	if !suiteName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a release: write for instance \"trixie\"", name)
	}
	return name, nil
}

func parsePackage(name string) (string, error) {
	if !packageName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a package: write one name in each string, for instance \"git\"", name)
	}
	return name, nil
}

func parseCommand(command string) (string, error) {
	if strings.TrimSpace(command) == "" {
		return "", errors.New("empty: write a shell command, or remove it")
	}
	return command, nil
}
