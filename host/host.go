// Package host is what this program asks of a host and does on it, for the
// plugin and for the commands: it chooses a backend that works, opens a pool,
// builds images, reports what is there and what is missing, and removes orphans.
// It works with the contracts alone; which implementations there are, package
// wiring says. What GitLab Runner hears is in package provider, and a worker's
// life in package pool.
package host

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Host is the machine that this process runs on. Its methods may be called
// concurrently; its fields are filled in by package wiring.
type Host struct {
	// Backends are those that this system has, the best first.
	Backends []Builder
	// Images opens the cache of golden images in a directory.
	Images func(dir string) Images
	// Registry takes golden images to registries and brings them from there, by what a
	// transfer asks for. It is nil where the backends' tools have their own way.
	Registry func(config.Config, Transfer) Registry
	// Leftovers lists what may be removed to make room on the disk, the least
	// valuable kind first. It is nil where nothing may.
	Leftovers func(config.Config) []diskguard.List
	// UsedImages are the images, by their digests, that workers or templates of any pool
	// were made from.
	UsedImages func(config.Config) (map[string]bool, error)
	// UnusedImages lists the golden images that nothing of any pool uses and that are
	// chosen, by when each was used last. It is nil where none may be removed.
	UnusedImages func(
		c config.Config, which func(golden image.Golden, lastUse time.Time) bool,
	) ([]diskspace.Leftover, error)
	// ImageUsers says what was made from each golden image, by digests: workers and
	// templates, of all pools.
	ImageUsers func(config.Config) (map[string][]string, error)
	// AddressOwners lists who has an address below the state directory, each as
	// "pool/worker".
	AddressOwners func(config.Config) ([]string, error)
	// CanReflink tells whether files in a directory can share their blocks. What
	// it tries, it leaves in the directory. It is nil where the backends' tools
	// make their own clones.
	CanReflink func(dir string) bool

	// Observers look at a pool that is open, each in a goroutine of its own.
	Observers []Observer

	mu sync.Mutex
	// kept are the locks of pools that could not be closed. The garbage collector
	// would unlock what nothing refers to any more.
	kept []func() error
}

// Observer looks at what happens in the pool of the configuration, or on the host, until
// ctx ends. It changes nothing, and no pool waits for it but for its end.
type Observer func(ctx context.Context, h *Host, c config.Config, log *slog.Logger)

// Builder makes one backend ready for a configuration.
type Builder struct {
	// Name is the backend's, as the configuration has it.
	Name string
	// Automatic says that the backend may be chosen for those who name none.
	Automatic bool
	// Build does not look at what the host lacks.
	Build func(config.Config, *slog.Logger) (Assembly, error)
}

// Assembly is a backend with what it needs beside it.
type Assembly struct {
	// Name is the builder's.
	Name    string
	Backend backend.Backend
	Network network.Network
	Access  pool.Access
	// Form is that of the golden images that the backend makes.
	Form string
	// Root says that nothing works without being root.
	Root bool
}

func (a Assembly) lacksRoot() bool { return a.Root && os.Geteuid() != 0 }

// Images is a cache of golden images.
type Images interface {
	// Get finds an image by its digest, and Saved one that a shell has saved, by its name.
	Get(digest string) (image.Golden, bool, error)
	Saved(name string) (image.Golden, bool, error)
	// List returns all images that can be used. The error joins one image.Damaged
	// for each of the others.
	List() ([]image.Golden, error)
	// Orphans lists those of killed builds, and removes them if it is told to.
	Orphans(remove bool) ([]string, error)
	// Replaceable says whether a build may take the place of an image: no process holds it,
	// used does not name it, and it can be made again.
	Replaceable(digest string, used func() (map[string]bool, error)) (bool, error)
	// Remove removes an image unless a process holds it or used names it.
	Remove(digest string, used func() (map[string]bool, error)) (removed bool, err error)
}
