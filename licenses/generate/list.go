package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is what we ship.
const program = "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cmd/fleeting-plugin-mayfly"

// standard is the path under which the Go standard library is listed. Its
// version is that of the compiler, and no part of the texts.
const standard = "std"

// module is a part of the program with a licence of its own.
type module struct {
	path    string
	version string
	dir     string
	// packages are the folders of the packages that the program uses.
	packages []string
}

// list returns the modules that the program is built from, on all systems
// together: ours, the standard library, the rest by path.
func list() ([]module, error) {
	found := map[string]module{}
	for _, goos := range []string{"linux", "darwin", "freebsd"} {
		for _, goarch := range []string{"amd64", "arm64"} {
			lines, err := dependencies(goos, goarch)
			if err != nil {
				return nil, err
			}
			for _, line := range lines {
				add(found, line)
			}
		}
	}
	root, err := goOutput(nil, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	root = strings.TrimSpace(root)
	found[standard] = module{path: standard, dir: root, packages: []string{root}}
	return slices.SortedFunc(maps.Values(found), func(a, b module) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.path, b.path))
	}), nil
}

func rank(m module) int {
	switch {
	case m.version == "" && m.path != standard:
		return 0
	case m.path == standard:
		return 1
	}
	return 2
}

// dependency is one package of the program, and its module.
type dependency struct{ path, version, dir, packageDir string }

// dependencies lists the packages of the program on one system, but not the
// standard library's.
func dependencies(goos, goarch string) ([]dependency, error) {
	const format = "{{with .Module}}{{.Path}}\t{{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}"
	environment := []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"}
	out, err := goOutput(environment, "list", "-deps", "-f", format, program)
	if err != nil {
		return nil, err
	}
	var all []dependency
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("go list: unexpected line %q", line)
		}
		all = append(all, dependency{fields[0], fields[1], fields[2], fields[3]})
	}
	return all, nil
}

func add(found map[string]module, d dependency) {
	m := found[d.path]
	m.path, m.version, m.dir = d.path, d.version, d.dir
	if !slices.Contains(m.packages, d.packageDir) {
		m.packages = append(m.packages, d.packageDir)
	}
	found[d.path] = m
}

func goOutput(environment []string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, failed.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(out), nil
}

// folders are those where a licence of the used packages may lie: their own,
// and all above up to the module's.
func (m module) folders() []string {
	all := map[string]bool{m.dir: true}
	for _, dir := range m.packages {
		for ; dir != m.dir && strings.HasPrefix(dir, m.dir); dir = filepath.Dir(dir) {
			all[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
