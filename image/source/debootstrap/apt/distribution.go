package apt

import (
	"fmt"
	"slices"
	"strings"
)

// Distribution is the distribution and release of a host.
type Distribution struct {
	ID       string // debian or ubuntu
	Codename string
}

// Names of the distributions whose packages we know.
const (
	Debian = "debian"
	Ubuntu = "ubuntu"
)

// components are what the distributions call the parts of their own archives.
// No component of another name is theirs.
var components = map[string][]string{
	Debian: {"main", "contrib", "non-free", "non-free-firmware"},
	Ubuntu: {"main", "universe", "restricted", "multiverse"},
}

// ParseOSRelease reads /etc/os-release. A derivative that is built on the
// packages of Ubuntu or Debian counts as what it is built on.
func ParseOSRelease(text string) (Distribution, error) {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[name] = strings.Trim(value, `"'`)
	}
	family := append([]string{fields["ID"]}, strings.Fields(fields["ID_LIKE"])...)
	found := Distribution{ID: Debian, Codename: fields["DEBIAN_CODENAME"]}
	switch {
	case slices.Contains(family, Ubuntu):
		found = Distribution{ID: Ubuntu, Codename: fields["UBUNTU_CODENAME"]}
	case !slices.Contains(family, Debian):
		return Distribution{}, fmt.Errorf(
			"this host runs %q, and packages are taken from hosts that run Debian or Ubuntu only", fields["ID"])
	}
	if found.Codename == "" {
		found.Codename = fields["VERSION_CODENAME"]
	}
	if found.Codename == "" {
		return Distribution{}, fmt.Errorf("/etc/os-release of this host names no codename; give a suite")
	}
	return found, nil
}

// Own returns the part of the host's entries that is the distribution's own
// archive. Third parties use suites or components of other names, and nothing
// of them belongs in an image that did not ask for them. Sources that a guest
// could not reach, such as a path of this host or a CD, are left out as well.
func (d Distribution) Own(entries []Entry) []Entry {
	suites := []string{d.Codename, d.Codename + "-updates", d.Codename + "-security", d.Codename + "/updates"}
	var own []Entry
	for _, entry := range entries {
		if !slices.Contains(entry.Components, "main") {
			continue
		}
		entry.URIs = slices.DeleteFunc(slices.Clone(entry.URIs), isLocal)
		entry.Suites = only(entry.Suites, suites)
		entry.Components = only(entry.Components, components[d.ID])
		if len(entry.URIs) > 0 && len(entry.Suites) > 0 {
			own = append(own, entry)
		}
	}
	return own
}

// For turns the host's own entries into those of another suite, on the same
// mirrors. The rolling suites of Debian have neither updates nor security.
func (d Distribution) For(suite string, own []Entry) []Entry {
	rolling := slices.Contains([]string{"sid", "unstable", "experimental"}, suite)
	var entries []Entry
	for _, entry := range own {
		var renamed []string
		for _, old := range entry.Suites {
			pocket := strings.TrimPrefix(old, d.Codename)
			if !rolling || pocket == "" {
				renamed = append(renamed, suite+pocket)
			}
		}
		entry.Suites = renamed
		if len(renamed) > 0 {
			entries = append(entries, entry)
		}
	}
	return entries
}

func isLocal(uri string) bool {
	scheme, _, _ := strings.Cut(uri, ":")
	return slices.Contains([]string{"file", "copy", "cdrom"}, scheme)
}
