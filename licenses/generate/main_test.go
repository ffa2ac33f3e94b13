package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/licenses"
)

// TestTextsAreComplete compares the texts in the program with the modules that
// it is built from today.
func TestTextsAreComplete(t *testing.T) {
	modules, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 3 {
		t.Fatalf("the program has %d modules; is the list complete?", len(modules))
	}
	for _, bad := range missing(modules, licenses.Text()) {
		t.Errorf("%s; run: go generate ./licenses", bad)
	}
	if got := len(parse(licenses.Text())); got > len(modules) {
		t.Errorf("the texts hold %d modules, the program is built from %d; run: go generate ./licenses", got, len(modules))
	}
}

func TestOursIsFirst(t *testing.T) {
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := module{path: "gitlab.com/mayfly-ci/fleeting-plugin-mayfly", dir: dir}.text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Apache License", "Copyright 2026 The Mayfly authors"} {
		if !strings.Contains(ours, want) {
			t.Errorf("our own part does not say %q", want)
		}
	}
	if !strings.HasPrefix(licenses.Text(), ours) {
		t.Error("the texts do not begin with LICENSE and NOTICE; run: go generate ./licenses")
	}
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "LICENSE", "Do as you like.")
	here := module{path: "example.com/here", version: "v1.0.0", dir: dir}
	newer := module{path: "example.com/here", version: "v1.0.1", dir: dir}
	absent := module{path: "example.com/absent", version: "v1.0.0", dir: dir}
	text, err := render([]module{here})
	if err != nil {
		t.Fatal(err)
	}
	if bad := missing([]module{here}, text); len(bad) != 0 {
		t.Errorf("a module that is there is reported: %q", bad)
	}
	for _, m := range []module{newer, absent} {
		if bad := missing([]module{here, m}, text); len(bad) != 1 {
			t.Errorf("with %s %s: reported %q, want one module", m.path, m.version, bad)
		}
	}
}

func TestModuleText(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "LICENSE.txt", "The module's own.\r\n")
	write(t, dir, "NOTICE", "Names.")
	write(t, dir, "license.go", "package code")
	write(t, dir, "used/deep/COPYING", "Of a part.")
	write(t, dir, "used/deep/package/x.go", "package x")
	write(t, dir, "unused/LICENSE", "Of nothing that we use.")
	m := module{path: "example.com/m", version: "v1.2.3", dir: dir, packages: []string{filepath.Join(dir, "used", "deep", "package")}}
	got, err := m.text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nexample.com/m v1.2.3\n", "--- LICENSE.txt\n\nThe module's own.\n", "--- NOTICE\n\nNames.\n",
		"--- used/deep/COPYING\n\nOf a part.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, no := range []string{"package code", "Of nothing"} {
		if strings.Contains(got, no) {
			t.Errorf("%q in\n%s", no, got)
		}
	}
}

func TestModuleWithoutLicenseIsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "NOTICE", "No licence, only names.")
	if text, err := (module{path: "example.com/m", version: "v1.0.0", dir: dir}).text(); err == nil {
		t.Errorf("no error, but %q", text)
	}
}

func TestListIsInOrder(t *testing.T) {
	modules, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if modules[0].version != "" || !strings.HasPrefix(program, modules[0].path) || modules[1].path != standard {
		t.Errorf("the list begins with %s and %s, want ours and %s", modules[0].path, modules[1].path, standard)
	}
	if !slices.IsSortedFunc(modules[2:], func(a, b module) int { return strings.Compare(a.path, b.path) }) {
		t.Error("the rest is not sorted by path")
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
