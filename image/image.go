// Package image is the contract for images: what a user asks for (a recipe)
// and what a worker is made from (a golden image). Downloads and root file
// systems from packages are in source/, what is made of them for a first boot in
// draft/, and what happens from there to a sealed disk in prebuild/. Files and
// file systems are in disk/, the initial RAM disk is in initrd/, the cache of
// finished images in cache/.
package image

import (
	"net/url"
	"path/filepath"
	"time"
)

// Kinds of sources.
const (
	// Debootstrap makes a root file system from the machine's package mirror.
	Debootstrap = "debootstrap"
	// HTTPS downloads a cloud image.
	HTTPS = "https"
	// Distribution downloads the newest cloud image that a Linux distribution publishes
	// for a release.
	Distribution = "distribution"
	// Local takes a cloud image from a path of this host.
	Local = "local"
	// OCI takes a machine out of a registry, by its reference.
	OCI = "oci"
	// VM takes a machine that the backend's own tool has on this host already,
	// by its name there.
	VM = "vm"
	// Saved goes on from the image that a shell has saved by a name; see SavedRecipe.
	Saved = "saved"
)

// Source says where an image comes from.
type Source struct {
	// Kind is Debootstrap, HTTPS, Distribution, Local, OCI, VM or Saved.
	Kind string `json:"kind"`
	// Location is a URL for HTTPS, the distribution and its release for Distribution,
	// such as "debian:13", an absolute path for Local, a reference for OCI, a name for
	// VM and Saved, else empty.
	Location string `json:"location,omitempty"`
	// SavedAt tells what Saved means from what had that name before.
	SavedAt time.Time `json:"saved_at,omitzero"`
	// SHA256 is the expected digest of what Location names, in lower-case
	// hexadecimal; empty means that it is not checked.
	SHA256 string `json:"sha256,omitempty"`
	// SHA512 is the same in another algorithm, in place of SHA256.
	SHA512 string `json:"sha512,omitempty"`
	// Mirror is the URL that stands for the root of the distribution's server, and
	// Keyring the path of a file with the keys that sign, for Distribution and
	// Debootstrap. Neither changes what the image is.
	Mirror  string `json:"-"`
	Keyring string `json:"-"`
	// Suite is the distribution's release for Debootstrap; empty means the
	// host's own.
	Suite string `json:"suite,omitempty"`
	// Variant is which packages Debootstrap begins with, as mmdebstrap has it; empty is
	// minbase. Components are the parts of the archive; none are the host's. ExtraSources
	// are lines of sources.list(5) for other archives.
	Variant      string   `json:"variant,omitempty"`
	Components   []string `json:"components,omitempty"`
	ExtraSources []string `json:"extra_sources,omitempty"`
}

// Public is Location for messages and logs: a URL without its user, password and
// query, which may be secret.
func (s Source) Public() string {
	switch s.Kind {
	case HTTPS:
	case Saved:
		return s.Kind + ":" + s.Location
	default:
		return s.Location
	}
	address, err := url.Parse(s.Location)
	if err != nil {
		return "a URL that cannot be read"
	}
	return (&url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path}).String()
}

// Forms of golden images.
const (
	// Disk is what a virtual machine boots from.
	Disk = ""
	// Tree is a root file system as a directory, for containers.
	Tree = "tree"
	// ShiftedTree is a Tree whose owners are counted from ShiftedBase: the user
	// that a container sees as 0 is ShiftedBase on the host, an unused id.
	ShiftedTree = "tree-shifted"
)

// ShiftedBase is the first of the 65536 user and group ids that a ShiftedTree
// belongs to. It is above the ids that systemd, its containers and subuid(5) give
// out, and below those that systemd reserves at the end of 31 bits.
const ShiftedBase = 0x7d660000

// StepLimit bounds each command of a recipe, however the guest is reached. It
// leaves time to compile a toolchain by emulation, and ends a command that waits
// for input.
const StepLimit = 2 * time.Hour

// Recipe is what the user asks an image to be. Two recipes with the same
// digest make the same image.
type Recipe struct {
	Source   Source   `json:"source"`
	Packages []string `json:"packages,omitempty"`
	// Kernel is the package of the kernel that workers boot. Without it, that is one that
	// Packages or the commands install, or else the distribution's for virtual machines.
	Kernel string `json:"kernel,omitempty"`
	// Run are shell commands, run as root, in order, at prebuild, after those of
	// PresetRun. Each may take StepLimit.
	PresetRun []string `json:"preset_run,omitempty"`
	Run       []string `json:"run,omitempty"`
	// Files are written before the commands, ordered by their paths. Env is the
	// environment of the commands, beside Secrets.
	Files   []File            `json:"files,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Secrets []Secret          `json:"secrets,omitempty"`
	// UserData is given to cloud-init at the first boot, besides our own; empty is none.
	UserData string `json:"user_data,omitempty"`
	// Proxy is the URL of the proxy by which workers, and the steps, reach the world but
	// for NoProxy; empty is none. Certificates, in the PEM form, are trusted besides those
	// that the distribution has.
	Proxy        string   `json:"proxy,omitempty"`
	NoProxy      []string `json:"no_proxy,omitempty"`
	Certificates []string `json:"certificates,omitempty"`
	// CertificateFiles are the files of this host that Certificates are read from.
	CertificateFiles []string `json:"-"`
	// User is the account that jobs log in to, with passwordless sudo.
	User string `json:"user"`
	// Disk is the size of a worker's disk in bytes.
	Disk int64 `json:"disk"`
	// Form is one of the forms above. It is the backend's, not the user's.
	Form string `json:"form,omitempty"`
	// Agent is the path of the guest agent's binary on this host, and
	// GitLabRunner that of a gitlab-runner binary to copy in, or empty.
	Agent        string `json:"-"`
	GitLabRunner string `json:"-"`
	// AgentSHA256 and GitLabRunnerSHA256 are their digests, so that another agent
	// or runner makes another image.
	AgentSHA256        string `json:"agent_sha256,omitempty"`
	GitLabRunnerSHA256 string `json:"gitlab_runner_sha256,omitempty"`
	// Edition tells images of one recipe that were made at different times, whose
	// packages are of different age; see Refresh. Whatever is kept of a build for the
	// next one must not outlive an edition: its source and its packages are what has
	// grown old. Empty where nothing is made anew.
	Edition string `json:"edition,omitempty"`
	// CPUs and Memory (bytes) are what the machine gets while it is built;
	// they do not change what is built. GivesWay has other machines go before it.
	CPUs     int   `json:"-"`
	Memory   int64 `json:"-"`
	GivesWay bool  `json:"-"`
	// FromScratch has a build use no layer, and replace those of this recipe. Replace has
	// it make the image although it is there, and take the place of that one at its end.
	// KeepFailed has one that fails leave what it has made.
	FromScratch bool `json:"-"`
	Replace     bool `json:"-"`
	KeepFailed  bool `json:"-"`
}

// Commands are shell commands of one setting, run as root, in order.
type Commands struct {
	// Setting is the key that they are from, without an index.
	Setting string
	Shell   []string
}

// Steps are all commands of a prebuild.
func (r Recipe) Steps() []Commands {
	return []Commands{{"image.preset", r.PresetRun}, {"image.run", r.Run}}
}

// Digest names the image that the recipe makes: 32 hexadecimal digits.
func (r Recipe) Digest() string { return digestOf(r) }

// Series names all editions of the recipe, as Digest names one of them.
func (r Recipe) Series() string {
	r.Edition = ""
	return r.Digest()
}

// Names of the files in a golden image's directory.
const (
	ManifestFile = "manifest.json"
	DiskFile     = "disk.raw"
	KernelFile   = "kernel"
	InitrdFile   = "initrd"
	TreeDir      = "root"
)

// ManifestVersion is the version of Manifest that this program writes.
const ManifestVersion = 1

// Manifest describes a golden image; it is its ManifestFile.
type Manifest struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
	Recipe  Recipe `json:"recipe"`
	// Root is the kernel's arguments that say where its root file system is,
	// such as root=/dev/vda.
	Root string `json:"root"`
	// Files are the sizes in bytes of those of the files above that it was made
	// with, by name. Manifests of older builds have none.
	Files        map[string]int64 `json:"files,omitempty"`
	BuiltAt      time.Time        `json:"built_at"`
	BuiltSeconds float64          `json:"built_seconds"`
	// Steps are what it was made in, and Layer is the key of the layer that its build
	// went on from, if it did. BaseAt is when its base was begun: its packages are as
	// old. Manifests of older builds, and of images that are not made in layers, have
	// none of these.
	Steps  []Step    `json:"steps,omitempty"`
	Layer  string    `json:"layer,omitempty"`
	BaseAt time.Time `json:"base_at,omitzero"`
}

// Golden is a golden image: sealed, read-only, found again by its digest.
type Golden struct {
	// Dir is the absolute path of its directory.
	Dir string
	Manifest
}

// Disk is the path of the golden disk. That of a tree is an empty file system, which
// takes what a worker writes.
func (g Golden) Disk() string { return filepath.Join(g.Dir, DiskFile) }

// Kernel is the path of the kernel.
func (g Golden) Kernel() string { return filepath.Join(g.Dir, KernelFile) }

// Initrd is the path of the initial RAM disk.
func (g Golden) Initrd() string { return filepath.Join(g.Dir, InitrdFile) }

// Tree is the path of the root file system of an image of that form.
func (g Golden) Tree() string { return filepath.Join(g.Dir, TreeDir) }

// Progress is told how a build goes on: the stage it is in, and a line of
// output, which may be empty when a stage begins. Calls come one at a time.
type Progress func(stage, line string)
