//go:build linux

package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap/apt"
)

// passCaches has a root file system take its packages from the mirrors behind the caches
// of this host, which no guest reaches. The lists that are there become those of the
// mirrors, so that a step may install packages at once.
func passCaches(root string, mirrors map[string]string) (err error) {
	if len(mirrors) == 0 {
		return nil
	}
	inside, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.Close()) }()
	// The longest come first: one URI may be the beginning of another.
	caches := slices.SortedFunc(maps.Keys(mirrors), func(a, b string) int { return len(b) - len(a) })
	return errors.Join(rewriteSources(inside, caches, mirrors), renameLists(inside, caches, mirrors))
}

func rewriteSources(inside *os.Root, caches []string, mirrors map[string]string) error {
	files, err := fs.Glob(inside.FS(), "etc/apt/sources.list.d/*")
	if err != nil {
		return err
	}
	for _, name := range append(files, "etc/apt/sources.list") {
		text, err := inside.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		rewritten := string(text)
		for _, cache := range caches {
			rewritten = strings.ReplaceAll(rewritten, cache, mirrors[cache])
		}
		if err := inside.WriteFile(name, []byte(rewritten), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func renameLists(inside *os.Root, caches []string, mirrors map[string]string) error {
	const lists = "var/lib/apt/lists"
	files, err := fs.Glob(inside.FS(), lists+"/*")
	if err != nil {
		return err
	}
	for _, file := range files {
		name := path.Base(file)
		for _, cache := range caches {
			rest, of := strings.CutPrefix(name, apt.ListPrefix(cache))
			if !of {
				continue
			}
			if err := inside.Rename(file, path.Join(lists, apt.ListPrefix(mirrors[cache])+rest)); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// Check says what becomes of a cache of packages that only this host reaches. It is empty
// where there is none.
func (m Maker) Check(ctx context.Context) []doctor.Finding {
	_, own, err := m.own()
	if err != nil {
		return nil // a build says why
	}
	finding := doctor.Finding{Level: doctor.OK, What: "package cache"}
	mirrors, unknown := apt.BehindCaches(own)
	var said []string
	for _, cache := range slices.Sorted(maps.Keys(mirrors)) {
		said = append(said, fmt.Sprintf("%s is this host's own: workers use %s, which is behind it",
			cache, mirrors[cache]))
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err == nil {
		for _, proxy := range apt.LoopbackProxies(string(dump)) {
			said = append(said, fmt.Sprintf("apt's proxy %s is this host's own: workers reach the mirrors without it",
				proxy))
		}
	}
	for _, uri := range unknown {
		finding.Level = doctor.Warning
		said = append(said, fmt.Sprintf("%s is this host's own, and its path does not say which mirror is behind it: "+
			"apt does not work in workers", uri))
		finding.Mend = "write the mirror's name into the path, as in http://localhost:3142/deb.example.org/debian"
	}
	if len(said) == 0 {
		return nil
	}
	finding.Detail = strings.Join(said, "; ")
	return []doctor.Finding{finding}
}
