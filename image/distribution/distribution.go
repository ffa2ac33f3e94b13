// Package distribution is the catalogue of Linux distributions: what their releases are
// called, and where they publish cloud images, the digests of these and the signatures
// of those. It asks no server.
package distribution

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Place is where a distribution publishes the image of one release for one
// architecture. In names {image} stands for that of the image's file, and * for a
// version, which begins with a digit.
type Place struct {
	// Directory is the URL of the directory of all files, with a slash at its end.
	Directory string
	// Image is the name of the image's file, and Digests that of a file with its digest.
	Image, Digests string
	// Built is what a list for the one image calls it, by the name that it had when it
	// was built; empty where lists have the name in Image.
	Built string
	// Signature is the name of a file with the signature of Digests: empty where there is
	// none, and the same as Digests where that is signed itself.
	Signature string
	// Keyrings are files with the keys that sign, where hosts may have them.
	Keyrings []string
}

// layout is how a distribution lays out its images on its servers: a Place in which
// {release}, {codename} and {arch} stand for themselves.
type layout struct {
	Place
	// releases are the releases that it is for, as patterns of path.Match; example is
	// one.
	releases []string
	example  string
	// codenames are what the distribution calls its releases, where a path has that.
	codenames map[string]string
	// architectures are the distribution's words for those of Go.
	architectures map[string]string
}

var (
	byGNU    = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	byDebian = map[string]string{"amd64": "amd64", "arm64": "arm64"}
)

// refused are distributions of which no workers can be made here, and why.
var refused = map[string]string{
	"alpine": "Alpine's images start with OpenRC, and a worker needs systemd, which starts the guest's agent before " +
		"anything else, keeps the image's own SSH server and its host keys away, and ends the machine in order: " +
		"use another distribution, and run jobs for Alpine in a container of it (image.preset = \"docker\")",
}

// layouts are the distributions, by their names.
var layouts = map[string][]layout{
	"ubuntu": {{
		releases: []string{"[0-9][0-9].04", "[0-9][0-9].10"}, example: "24.04", architectures: byDebian,
		Place: Place{
			Directory: "https://cloud-images.ubuntu.com/releases/{release}/release/",
			Image:     "ubuntu-{release}-server-cloudimg-{arch}.img",
			Digests:   "SHA256SUMS", Signature: "SHA256SUMS.gpg",
			Keyrings: []string{"/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"},
		},
	}},
	"debian": {{
		releases: []string{"11", "12", "13"}, example: "13", architectures: byDebian,
		codenames: map[string]string{"11": "bullseye", "12": "bookworm", "13": "trixie"},
		Place: Place{
			Directory: "https://cloud.debian.org/images/cloud/{codename}/latest/",
			Image:     "debian-{release}-genericcloud-{arch}.qcow2",
			Digests:   "SHA512SUMS",
		},
	}},
	"fedora": {{
		releases: []string{"[0-9][0-9]"}, example: "43", architectures: byGNU,
		Place: Place{
			Directory: "https://download.fedoraproject.org/pub/fedora/linux/releases/{release}/Cloud/{arch}/images/",
			Image:     "Fedora-Cloud-Base-Generic-{release}-*.{arch}.qcow2",
			Digests:   "Fedora-Cloud-{release}-*-{arch}-CHECKSUM",
			Signature: "Fedora-Cloud-{release}-*-{arch}-CHECKSUM",
			Keyrings: []string{
				"/usr/share/distribution-gpg-keys/fedora/RPM-GPG-KEY-fedora-{release}-primary",
				"/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-{release}-primary",
			},
		},
	}},
	"almalinux": {{
		releases: []string{"8", "9", "10"}, example: "9", architectures: byGNU,
		Place: Place{
			Directory: "https://repo.almalinux.org/almalinux/{release}/cloud/{arch}/images/",
			Image:     "AlmaLinux-{release}-GenericCloud-*.{arch}.qcow2",
			Digests:   "CHECKSUM", Signature: "CHECKSUM.asc",
			Keyrings: []string{
				"/usr/share/distribution-gpg-keys/alma/RPM-GPG-KEY-AlmaLinux-{release}",
				"/etc/pki/rpm-gpg/RPM-GPG-KEY-AlmaLinux-{release}",
			},
		},
	}},
	"rockylinux": {{
		releases: []string{"8", "9", "10"}, example: "9", architectures: byGNU,
		Place: Place{
			Directory: "https://dl.rockylinux.org/pub/rocky/{release}/images/{arch}/",
			Image:     "Rocky-{release}-GenericCloud-Base-*.{arch}.qcow2",
			Digests:   "CHECKSUM",
		},
	}},
	"opensuse": {leap("15.[0-9]", "15.6", "openSUSE-Leap"), leap("1[6-9].[0-9]", "16.0", "Leap")},
}

// leap is openSUSE Leap, whose files have other names from version 16 on.
func leap(releases, example, prefix string) layout {
	return layout{
		releases: []string{releases}, example: example, architectures: byGNU,
		Place: Place{
			Directory: "https://download.opensuse.org/distribution/leap/{release}/appliances/",
			Image:     prefix + "-{release}-Minimal-VM.{arch}-Cloud.qcow2",
			Digests:   "{image}.sha256", Signature: "{image}.sha256.asc",
			Built:    prefix + "-{release}-Minimal-VM.{arch}-*",
			Keyrings: []string{"/usr/share/distribution-gpg-keys/opensuse/RPM-GPG-KEY-openSUSE"},
		},
	}
}

// Known says whether a name begins with that of a distribution, as "debian:13" does.
func Known(name string) bool {
	distribution, _, _ := strings.Cut(name, ":")
	return layouts[distribution] != nil || refused[distribution] != ""
}

// Find is the place of the image with a name, such as "debian:13", for an architecture
// as Go calls it. The error says which names there are.
func Find(name, goarch string) (Place, error) {
	distribution, release, _ := strings.Cut(name, ":")
	if why := refused[distribution]; why != "" {
		return Place{}, fmt.Errorf("%q: %s", name, why)
	}
	all := layouts[distribution]
	if all == nil {
		return Place{}, fmt.Errorf("no distribution %q is known: write for instance %s", distribution, examples())
	}
	for _, l := range all {
		for _, pattern := range l.releases {
			if fits, _ := path.Match(pattern, release); fits {
				return l.of(release, goarch)
			}
		}
	}
	return Place{}, fmt.Errorf("no release %q of %s is known: write for instance \"%s:%s\"",
		release, distribution, distribution, all[len(all)-1].example)
}

// examples are names, one of each layout.
func examples() string {
	var names []string
	for _, distribution := range slices.Sorted(maps.Keys(layouts)) {
		for _, l := range layouts[distribution] {
			names = append(names, fmt.Sprintf("%q", distribution+":"+l.example))
		}
	}
	return strings.Join(names, ", ")
}

// of is the place of one release for one architecture.
func (l layout) of(release, goarch string) (Place, error) {
	arch := l.architectures[goarch]
	if arch == "" {
		return Place{}, fmt.Errorf("there is no image for %s", goarch)
	}
	fill := strings.NewReplacer("{release}", release, "{codename}", l.codenames[release], "{arch}", arch).Replace
	p := Place{
		Directory: fill(l.Directory), Image: fill(l.Image), Digests: fill(l.Digests), Signature: fill(l.Signature),
		Built: fill(l.Built),
	}
	for _, path := range l.Keyrings {
		p.Keyrings = append(p.Keyrings, fill(path))
	}
	return p, nil
}
