// Package programs is the table of all programs that Mayfly and its tests start,
// with the Debian package of each, and the look-up that everything goes through.
// What is installed for a run or for the tests follows from it
// (programs/wanted), and so does what errors and findings tell users to install.
// It installs and starts nothing itself.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Use says what a program is installed for.
type Use string

// What programs are installed for. Nothing is installed for a program without a
// use: every Debian has it, or Debian has no package of it.
const (
	Run  Use = "run"  // workers on QEMU
	Test Use = "test" // the tests
)

// Program is a program that Mayfly or its tests start, or a package that they
// take files from.
type Program struct {
	// Name is looked for in PATH; it is empty where a package is wanted for a file.
	Name string
	// File shows that the package is there, where Name is empty.
	File string
	// Package is Debian's; it is empty where Debian has none.
	Package string
	Use     Use
	// Arch is the GOARCH that the program is installed on; empty means all.
	Arch string
	// Elsewhere says how to get it where Debian's package is not to be had.
	Elsewhere string
}

// ErrNotListed says that a name is in no table: nobody would install it.
var ErrNotListed = errors.New("not in the table of package programs: add it there")

// rootDirs are where Debian has programs for root. They are not in the PATH of
// other users.
var rootDirs = []string{"/usr/sbin", "/sbin"}

// Find returns the path of a program of the table, from PATH or from where
// Debian has programs for root. A name with a slash is a path, and returned as
// it is. The error says how to install the program; it is ErrNotListed for a name
// that is not in the table, also when there is such a program.
func Find(name string) (path string, err error) {
	if strings.Contains(name, "/") {
		return exec.LookPath(name)
	}
	p, listed := get(name)
	if !listed {
		return "", fmt.Errorf("looking for %q: %w", name, ErrNotListed)
	}
	if path, err = look(name); err != nil {
		return "", fmt.Errorf("%w; %s", err, p.Remedy())
	}
	return path, nil
}

// FindConfigured is Find for a name that a user chose, which may be in no table.
func FindConfigured(name string) (path string, err error) {
	if path, err = Find(name); errors.Is(err, ErrNotListed) {
		return look(name)
	}
	return path, err
}

// install is how a command begins that installs a package.
const install = "apt-get install "

// Remedy is the command that installs a program, or another way to get it. It is
// empty for a name that is not in the table.
func Remedy(name string) string {
	p, _ := get(name)
	return p.Remedy()
}

// Packaged says whether the remedy for a program is a command.
func Packaged(name string) bool { return strings.HasPrefix(Remedy(name), install) }

// Listed says whether the table has a program of the name.
func Listed(name string) bool {
	_, listed := get(name)
	return listed
}

// Remedy is the command that installs the program, or another way to get it.
func (p Program) Remedy() string {
	if p.Package == "" || p.Elsewhere != "" && runtime.GOOS != "linux" {
		return p.Elsewhere
	}
	return install + p.Package
}

// There says whether the program, or the file of the package, is on this host.
func (p Program) There() bool {
	if p.Name == "" {
		_, err := os.Stat(p.File)
		return err == nil
	}
	_, err := look(p.Name)
	return err == nil
}

func get(name string) (Program, bool) {
	i := slices.IndexFunc(Table, func(p Program) bool { return name != "" && p.Name == name })
	if i < 0 {
		return Program{}, false
	}
	return Table[i], true
}

func look(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range rootDirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}
