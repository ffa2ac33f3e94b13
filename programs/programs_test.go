package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// only makes a directory with programs of these names all of PATH, and puts
// another in the place of those for root.
func only(t *testing.T, names ...string) (bin, sbin string) {
	t.Helper()
	bin, sbin = t.TempDir(), t.TempDir()
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755))
	}
	t.Setenv("PATH", bin)
	before := rootDirs
	rootDirs = []string{sbin}
	t.Cleanup(func() { rootDirs = before })
	return bin, sbin
}

func TestFind(t *testing.T) {
	bin, sbin := only(t, "nft", "nowhere-listed")
	path, err := Find("nft")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(bin, "nft"), path)

	require.NoError(t, os.Rename(path, filepath.Join(sbin, "nft")))
	path, err = Find("nft")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(sbin, "nft"), path)

	_, err = Find("xorriso")
	require.ErrorIs(t, err, exec.ErrNotFound)
	require.ErrorContains(t, err, "xorriso")
	require.ErrorContains(t, err, "apt-get install xorriso")
	_, err = Find("gitlab-runner")
	require.ErrorContains(t, err, "https://docs.gitlab.com/runner/install/")

	there := filepath.Join(bin, "nowhere-listed")
	_, err = Find("nowhere-listed")
	require.ErrorIs(t, err, ErrNotListed, "although it is in PATH")
	path, err = FindConfigured("nowhere-listed")
	require.NoError(t, err)
	require.Equal(t, there, path)
	path, err = Find(there)
	require.NoError(t, err)
	require.Equal(t, there, path)
	_, err = FindConfigured("xorriso")
	require.ErrorContains(t, err, "apt-get install xorriso")
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Table {
		require.True(t, (p.Name == "") != (p.File == ""), "%+v: either a program or a file is looked for", p)
		require.False(t, seen[p.Name+p.File], "%+v is there twice", p)
		seen[p.Name+p.File] = true
		require.NotEmpty(t, p.Package+p.Elsewhere, "%+v cannot be had", p)
		require.Contains(t, []Use{"", Run, Test}, p.Use, "%+v", p)
		if p.Use != "" {
			require.NotEmpty(t, p.Package, "%+v is installed, and is in no package", p)
		}
	}
	require.Equal(t, "pkg install vm-bhyve", Remedy("vm"))
	require.Empty(t, Remedy("nowhere-listed"))
	require.Empty(t, Remedy(""))
}

// TestPackagesAreTrue asks a Debian what is in which package.
func TestPackagesAreTrue(t *testing.T) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || !strings.Contains(string(release), "\nID=debian\n") {
		t.Skip("this is no Debian")
	}
	paths := map[string][]string{} // by package and program
	var all []string
	for _, p := range Table {
		if p.Package == "" || p.Arch != "" && p.Arch != runtime.GOARCH || !p.There() {
			continue
		}
		path := p.File
		if p.Name != "" {
			path, err = Find(p.Name)
			require.NoError(t, err)
		}
		names := namesOf(path)
		paths[p.Package+": "+path] = names
		all = append(all, names...)
	}
	// It fails where a name is in no package, which is so for most links.
	out, _ := exec.Command("dpkg-query", append([]string{"--search"}, all...)...).Output()
	for key, names := range paths {
		owner, _, _ := strings.Cut(key, ": ")
		require.Condition(t, func() bool {
			return slices.ContainsFunc(names, func(name string) bool {
				return regexp.MustCompile(`(?m)^(.*, )?` + regexp.QuoteMeta(owner) + `(:\w+)?(, .*)?: ` + regexp.QuoteMeta(name) + `$`).Match(out)
			})
		}, "dpkg does not know that this package has it: %s", key)
	}
}

// namesOf are the names of a file, and of what it links to. What is in /usr may
// be known by its name without that, and the other way round.
func namesOf(path string) (names []string) {
	for {
		names = append(names, path, strings.TrimPrefix(path, "/usr"), "/usr"+path)
		to, err := os.Readlink(path)
		if err != nil {
			return names
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
}
