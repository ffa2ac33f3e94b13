package architecture

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// backendName finds the names of backends. "tart" needs care: it is the end
// of "start".
var backendName = regexp.MustCompile(`(?i:qemu|nspawn|bhyve|cloud-?hypervisor)|\b[Tt]art\b|[a-z]Tart|\b[Tt]art[A-Z]`)

// namedBackends returns every place in pool, host and provider that names a
// backend. The wiring and the configuration may, and so may tests.
func namedBackends(files []file) []string {
	var bad []string
	for _, f := range files {
		above := withinAny(f.dir(), []string{"host", "pool/...", "provider"})
		if !above || f.test {
			continue
		}
		for i, line := range strings.Split(f.text, "\n") {
			if name := backendName.FindString(line); name != "" {
				bad = append(bad, fmt.Sprintf("%s:%d names the backend %q: what only some backends can do is an optional interface", f.path, i+1, name))
			}
		}
	}
	return bad
}

// ambiguousAliases returns every file that gives a package a name by which other
// files import another package.
func ambiguousAliases(files []file) []string {
	meanings := map[string][]string{}
	note := func(name, imported string) {
		if name != "_" && name != "." && !slices.Contains(meanings[name], imported) {
			meanings[name] = append(meanings[name], imported)
		}
	}
	for _, f := range files {
		for name, imported := range f.aliases {
			note(name, imported)
		}
	}
	for _, f := range files {
		aliased := slices.Collect(maps.Values(f.aliases))
		for _, imported := range f.imports {
			if name := path.Base(imported); meanings[name] != nil && !slices.Contains(aliased, imported) {
				note(name, imported)
			}
		}
	}
	var bad []string
	for _, f := range files {
		for name := range f.aliases {
			if len(meanings[name]) > 1 {
				all := strings.Join(meanings[name], " ")
				bad = append(bad, fmt.Sprintf("%s: the alias %s means one of %s", f.path, name, all))
			}
		}
	}
	return bad
}

// undocumented returns every package without a comment that begins with its
// name, as go doc wants it.
func undocumented(files []file) []string {
	documented := map[string]bool{}
	for _, f := range files {
		want := "Package " + f.name + " "
		if f.name == "main" {
			want = "Command " + path.Base(f.dir()) + " "
		}
		documented[f.dir()] = documented[f.dir()] || strings.HasPrefix(f.doc, want)
	}
	var bad []string
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			bad = append(bad, fmt.Sprintf("%s has no comment that begins \"Package NAME\" or \"Command NAME\"", dir))
		}
	}
	return bad
}

// vague are names that say nothing about what belongs in a package.
var vague = regexp.MustCompile(`^(utils?|commons?|helpers?|shared|misc)$`)

// vaguelyNamed returns every file in a package or folder with a vague name.
func vaguelyNamed(files []file) []string {
	var bad []string
	for _, f := range files {
		for _, name := range append(strings.Split(f.dir(), "/"), strings.TrimSuffix(f.name, "_test")) {
			if vague.MatchString(name) {
				bad = append(bad, fmt.Sprintf("%s is in %q: name the package for the thing it is about", f.path, name))
				break
			}
		}
	}
	return bad
}
