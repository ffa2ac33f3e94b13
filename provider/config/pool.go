package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxSocketPath is the longest path of a unix socket, in bytes: sun_path has
// room for 108, the last of them zero.
const maxSocketPath = 107

var backends = []string{
	BackendAuto, BackendQEMU, BackendCloudHypervisor, BackendNspawn, BackendTart, BackendBhyve, BackendSynthetic,
}

// Pools that belong to commands: image builds outside a plugin process, and
// the workers of `try`.
const (
	PoolImages = "images"
	PoolTry    = "try"
)

// A pool's name is part of host names, interface records and paths.
var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

func parsePool(name string) (string, error) {
	if !poolName.MatchString(name) {
		return "", fmt.Errorf("%q is no name for a pool: "+
			"use up to 24 of a-z, 0-9 and -, not beginning or ending with -", name)
	}
	return name, nil
}

// checkPool refuses names that others have.
func (r raw) checkPool(m *Errors, c Config, reserved []string) {
	if slices.Contains(reserved, c.Pool) {
		m.add(r.pool.path, "%q is what a command of this program calls its own pool: choose another name", c.Pool)
	}
}

func parseBackend(name string) (string, error) {
	if !slices.Contains(backends, name) {
		return "", fmt.Errorf("unknown backend %q: use one of %s", name, strings.Join(backends, ", "))
	}
	return name, nil
}

func parseStateDir(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: write for instance \"/var/lib/mayfly\"", path)
	}
	if strings.ContainsRune(path, ',') || strings.ContainsFunc(path, unicode.IsControl) {
		return "", fmt.Errorf("%q has a comma or a control character in it, which the machines' command lines cannot carry: "+
			"choose another directory", path)
	}
	return filepath.Clean(path), nil
}

// withoutLinks follows the symbolic links of a path as far as it exists.
func withoutLinks(dir string) string {
	if followed, err := filepath.EvalSymlinks(dir); err == nil {
		return followed
	}
	if parent := filepath.Dir(dir); parent != dir {
		return filepath.Join(withoutLinks(parent), filepath.Base(dir))
	}
	return dir
}

// checkSocketPath refuses here what would otherwise fail with "invalid
// argument" when the first worker starts.
func (r raw) checkSocketPath(m *Errors, c Config) {
	if m.has(r.pool.path) || m.has(r.stateDir.path) {
		return
	}
	socket := filepath.Join(c.PoolDir(), "workers", c.Pool+"-xxxxxxxx", "agent.sock")
	if excess := len(socket) - maxSocketPath; excess > 0 {
		m.add(r.stateDir.path, "%q is too long for the sockets below it, whose paths may have %d bytes: "+
			"shorten it by %d", c.StateDir, maxSocketPath, excess)
	}
}
