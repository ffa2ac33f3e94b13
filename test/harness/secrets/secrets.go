// Package secrets looks for the private keys of a host's workers in all places where
// others could read them, and for files of the host that others can reach. Suites
// call it while workers run. What is inside a worker is not its business.
package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys are lines of private keys, one of each, which no other text has.
type Keys []string

// RequireKept fails when a private key of a worker is in an argument or in the
// environment of a process, or in a file below the state directory whose mode lets
// others read it. It returns the keys, for RequireAbsent. Workers must be there that
// run: without a key nothing is shown.
func RequireKept(t testing.TB, stateDir string) Keys {
	t.Helper()
	keys, leaks, err := look(stateDir)
	require.NoError(t, err)
	require.Empty(t, leaks)
	return keys
}

// RequireAbsent fails when a text, such as a log, holds one of the keys.
func (k Keys) RequireAbsent(t testing.TB, text string) {
	t.Helper()
	require.False(t, k.in([]byte(text)), "the text holds a private key")
}

func (k Keys) in(text []byte) bool {
	return slices.ContainsFunc(k, func(key string) bool { return bytes.Contains(text, []byte(key)) })
}

func look(stateDir string) (keys Keys, leaks []string, err error) {
	keys, leaks, err = lookAtFiles(stateDir)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("no private key below %s: no worker runs", stateDir)
	}
	processes, err := lookAtProcesses(keys)
	return keys, slices.Concat(leaks, processes), err
}

// RequireClosed fails when the state directory, or anything in it that has a mode of
// ours, is open to others than its owner.
func RequireClosed(t testing.TB, stateDir string) {
	t.Helper()
	open, err := openFiles(stateDir)
	require.NoError(t, err)
	require.Empty(t, open)
}

// others is the part of a mode that is for others than the owner.
const others = 0o077

// ours are the files and directories below a state directory that nobody else may
// use, whatever the directories above them allow. Golden images are left out: they
// are for reading by all workers, and nobody gets through the directory above them.
// So is what is deeper in a worker: files that a guest sees have its modes.
var ours = []string{
	".", "*", "images/*", "addresses/*", "users/*", "budget/*", "budget/*/*", "downloads/*", "pools/*", "pools/*/*",
	"pools/*/ended/*", "pools/*/workers/*", "pools/*/workers/*/*", "pools/*/templates/*", "pools/*/templates/*/*",
}

func openFiles(stateDir string) (open []string, err error) {
	for _, pattern := range ours {
		paths, err := filepath.Glob(filepath.Join(stateDir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			info, err := os.Lstat(path)
			if errors.Is(err, fs.ErrNotExist) { // it has gone meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			if info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&others != 0 {
				open = append(open, fmt.Sprintf("%s is open to others: %v", path, info.Mode()))
			}
		}
	}
	return open, nil
}

// largest is the size up to which files are searched: keys are in small ones, and disks
// and memory hold the keys of their guests.
const largest = 1 << 20

// lookAtFiles finds the private keys below a directory, and the files that hold one and
// can be read by others.
func lookAtFiles(stateDir string) (keys Keys, leaks []string, err error) {
	err = filepath.WalkDir(stateDir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > largest {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		found := privateKeys(text)
		if len(found) > 0 && info.Mode().Perm()&others != 0 {
			leaks = append(leaks, fmt.Sprintf("%s holds a private key and is open to others: %v", path, info.Mode()))
		}
		keys = append(keys, found...)
		return err
	})
	return keys, leaks, err
}

var (
	pem     = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END`)
	newline = []byte(`\n`) // as JSON writes it
)

func privateKeys(text []byte) (keys Keys) {
	for _, match := range pem.FindAllSubmatch(bytes.ReplaceAll(text, newline, []byte("\n")), -1) {
		lines := strings.Fields(string(match[1]))
		// The first line of OpenSSH's form is the same in all keys, and the last may be
		// short. The half of the key that is secret is in the middle.
		keys = append(keys, lines[len(lines)/2])
	}
	return keys
}

// lookAtProcesses looks at all processes of this system, where it has proc(5).
func lookAtProcesses(keys Keys) (leaks []string, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, cmdline := range paths {
		for _, path := range []string{cmdline, filepath.Join(filepath.Dir(cmdline), "environ")} {
			text, err := os.ReadFile(path)
			if err != nil { // it has ended, or is another user's
				continue
			}
			if keys.in(text) {
				leaks = append(leaks, path+" holds a private key")
			}
		}
	}
	return leaks, nil
}
