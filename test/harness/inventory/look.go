//go:build linux

package inventory

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Host says where to look: in the namespaces of this process, and for these pools.
type Host struct {
	// StateDir is the pools' state directory, an absolute path without links.
	StateDir string
	// Temporary is the plugins' directory of temporary files, which nobody else uses;
	// nobody looks there when it is empty.
	Temporary string
	// Pools are the names of pools below it. No other pool on this machine has one of
	// them: processes are told apart by them. Those of other pools below it, whose
	// arguments name a file there, are nobody's.
	Pools []string
	// Plugin says whether a path is that of a plugin's program.
	Plugin func(program string) bool
}

// sight lists all things of some kind.
type sight func(Host) ([]Thing, error)

var sights = []sight{
	seeProcesses, seeNamespaces, seeLinks, seeTables, seeMounts, seeGroups, seeLoops, seeForwarding, seeTemporary, seeFiles,
}

// Look lists what there is. What goes or comes meanwhile may be in it or not.
func Look(h Host) (things []Thing, err error) {
	for _, see := range sights {
		seen, err := see(h)
		if err != nil {
			return nil, err
		}
		things = append(things, seen...)
	}
	return things, nil
}

// linkPrefix begins the names of links and namespaces, tablePrefix those of tables.
const (
	linkPrefix  = "mf"
	tablePrefix = "mayfly"
	namespaces  = "/run/netns"
)

// worker finds the id of a worker of these pools in a text, such as a path.
func (h Host) worker(text string) (Owner, bool) {
	if len(h.Pools) == 0 {
		return "", false
	}
	ids := regexp.MustCompile(`\b(?:` + strings.Join(h.Pools, "|") + `)-[a-z2-7]{8}\b`)
	id := ids.FindString(text)
	return Worker(id), id != ""
}

// below says whether a path is in the state directory.
func (h Host) below(path string) bool { return strings.HasPrefix(path, h.StateDir+"/") }

// seeProcesses knows a process of ours by its arguments, by where it is and by its
// control group: what a job has started names nothing of ours.
func seeProcesses(h Host) (things []Thing, err error) {
	err = eachProcess(func(pid int, dir string) {
		arguments, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(arguments) == 0 { // a thread of the kernel, or one that has ended
			return
		}
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		at, _ := os.Readlink(filepath.Join(dir, "cwd"))
		root, _ := os.Readlink(filepath.Join(dir, "root"))
		program, _ := os.Readlink(filepath.Join(dir, "exe"))
		name := fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(bytes.TrimRight(arguments, "\x00"), []byte{0}, []byte{' '}))
		owner, known := h.worker(strings.Join([]string{name, at, root, string(group)}, "\n"))
		switch {
		case pid == os.Getpid() || pid == os.Getppid():
		case known:
			things = append(things, Thing{Process, name, owner})
		case h.Plugin(program):
			things = append(things, Thing{Process, name, Plugin(pid)})
		case h.below(at), h.below(root), h.below(program), strings.Contains(name, h.StateDir+"/"):
			things = append(things, Thing{Process, name, ""})
		}
	})
	return things, err
}

// eachProcess calls look for each process, with its directory below /proc.
func eachProcess(look func(pid int, dir string)) error {
	entries, err := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			look(pid, filepath.Join("/proc", entry.Name()))
		}
	}
	return err
}

func seeNamespaces(Host) (things []Thing, err error) {
	entries, err := os.ReadDir(namespaces)
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, linkPrefix) {
			things = append(things, Thing{Namespace, name, Worker(name)})
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return things, err
}

func seeLinks(Host) (things []Thing, err error) {
	links, err := netlinkdump.LinkList()
	for _, link := range links {
		if name := link.Attrs().Name; strings.HasPrefix(name, linkPrefix) {
			things = append(things, Thing{Link, name, Worker(name)})
		}
	}
	return things, err
}

// seeTables names a pool by the scope in its table's name. Without the right to ask
// there are none of ours.
func seeTables(h Host) (things []Thing, err error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	connection, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := netlinkdump.Settled(connection.ListTables)
	for _, table := range tables {
		if !strings.HasPrefix(table.Name, tablePrefix) {
			continue
		}
		var owner Owner
		for _, pool := range h.Pools {
			if table.Name == tablePrefix+"-"+h.scope(pool) {
				owner = Pool(pool)
			}
		}
		things = append(things, Thing{Table, table.Name, owner})
	}
	return things, err
}

// scope stands for a pool in names in the kernel. That it is derived here as it is
// there shows when the table of a pool is missing.
func (h Host) scope(pool string) string {
	sum := sha256.Sum256([]byte(filepath.Join(h.StateDir, "pools", pool)))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:5]
}

// mounted is a line of proc_pid_mountinfo(5).
type mounted struct{ point, kind string }

func mounts() (found []mounted, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		const point = 4
		before, after, _ := strings.Cut(line, " - ")
		if fields, kind := strings.Fields(before), strings.Fields(after); len(fields) > point && len(kind) > 0 {
			found = append(found, mounted{fields[point], kind[0]})
		}
	}
	return found, err
}

func seeMounts(h Host) (things []Thing, err error) {
	all, err := mounts()
	for _, m := range all {
		if _, err := os.Lstat(m.point); errors.Is(err, fs.ErrNotExist) { // another mount hides it
			continue
		}
		name, isNamespace := strings.CutPrefix(m.point, namespaces+"/"+linkPrefix)
		switch {
		case isNamespace:
			things = append(things, Thing{Mount, m.point, Worker(name)})
		case h.below(m.point):
			owner, known := h.worker(m.point)
			if !known {
				owner = ""
			}
			things = append(things, Thing{Mount, m.point, owner})
		}
	}
	return things, err
}

// unitPrefix begins the names of the control groups of a pool's workers; an id
// follows. That it is derived here as it is there shows when the group of a worker is
// missing.
func (h Host) unitPrefix(pool string) string {
	sum := sha256.Sum256([]byte(filepath.Join(h.StateDir, "pools", pool, "workers")))
	return "mayfly-" + hex.EncodeToString(sum[:4]) + "-"
}

// seeGroups looks for the groups of workers of all pools below the state directory,
// wherever they are.
func seeGroups(h Host) (things []Thing, err error) {
	pools, err := filepath.Glob(filepath.Join(h.StateDir, "pools", "*"))
	if err != nil {
		return nil, err
	}
	all, err := mounts()
	for _, m := range all {
		if m.kind != "cgroup" && m.kind != "cgroup2" {
			continue
		}
		// Groups come and go; what cannot be read is gone.
		_ = filepath.WalkDir(m.point, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil
			}
			for _, pool := range pools {
				if strings.HasPrefix(entry.Name(), h.unitPrefix(filepath.Base(pool))) {
					owner := Worker(strings.TrimSuffix(entry.Name(), ".scope"))
					things = append(things, Thing{ControlGroup, path, owner})
					return fs.SkipDir
				}
			}
			return nil
		})
	}
	return things, err
}

func seeLoops(h Host) (things []Thing, err error) {
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, device := range devices {
		text, _ := os.ReadFile(device) // it may be let go of meanwhile
		file := strings.TrimSpace(string(text))
		// The path is as seen from here, where the mount that it is below may be missing.
		owner, ours := h.worker(file)
		if !ours {
			owner = ""
		}
		if ours || h.below(file) {
			things = append(things, Thing{LoopDevice, strings.Split(device, "/")[3] + " on " + file, owner})
		}
	}
	return things, err
}

// seeForwarding lists the notes on interfaces of this network namespace.
func seeForwarding(Host) (things []Thing, err error) {
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	inode := strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
	notes, err := filepath.Glob(filepath.Join("/run/mayfly/forwarding", inode, "*"))
	for _, note := range notes {
		things = append(things, Thing{Forwarding, note, Everyone})
	}
	return things, err
}

// seeTemporary says of each file there which plugin process has it open.
func seeTemporary(h Host) (things []Thing, err error) {
	if h.Temporary == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(h.Temporary)
	if err != nil {
		return nil, err
	}
	holders := make(map[string]Owner)
	err = eachProcess(func(pid int, dir string) {
		if program, _ := os.Readlink(filepath.Join(dir, "exe")); !h.Plugin(program) {
			return
		}
		descriptors, _ := filepath.Glob(filepath.Join(dir, "fd", "*"))
		for _, descriptor := range descriptors {
			open, _ := os.Readlink(descriptor)
			holders[open] = Plugin(pid)
		}
	})
	for _, entry := range entries {
		name := filepath.Join(h.Temporary, entry.Name())
		things = append(things, Thing{Temporary, name, holders[name]})
	}
	return things, err
}

// place is what lies below the state directory at the paths of a pattern.
type place struct {
	pattern string
	kind    Kind
	// owner is found by the path of the file, and the elements of that below the state
	// directory; without it, what is there belongs to that itself, and is not listed.
	owner func(file string, elements []string) Owner
	// whole says that what is below belongs to it.
	whole bool
}

func ofPool(_ string, elements []string) Owner   { return Pool(elements[1]) }
func ofWorker(_ string, elements []string) Owner { return Worker(elements[3]) }
func ofNobody(string, []string) Owner            { return "" }

// named is for files whose names begin with a worker's id and a comma.
func named(_ string, elements []string) Owner {
	id, _, _ := strings.Cut(elements[len(elements)-1], ",")
	return Worker(id)
}

// numbered is for files whose names end with a worker's id, after a number.
func numbered(_ string, elements []string) Owner { return Worker(elements[len(elements)-1]) }

// claimed is for files that hold POOL/WORKER. One that goes meanwhile is nobody's.
func claimed(file string, _ []string) Owner {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return Worker(strings.TrimSpace(string(text)))
}

// places is searched from the top.
var places = []place{
	{pattern: "lost+found", whole: true}, // the file system's own
	{pattern: "*acceleration*.json"},
	{pattern: "downloads", whole: true},
	{pattern: "endpoints", whole: true},
	{pattern: "addresses"},
	{pattern: "addresses/lock"},
	{pattern: "addresses/last-*"},
	{pattern: "addresses/*", kind: Address, owner: claimed},
	{pattern: "users"},
	{pattern: "users/lock"},
	{pattern: "users/last-*"},
	{pattern: "users/*", kind: User, owner: claimed},
	{pattern: "budget"},
	{pattern: "budget/lock"},
	{pattern: "budget/held"},
	{pattern: "budget/held/*", kind: Reservation, owner: named},
	{pattern: "budget/queue"},
	{pattern: "budget/queue/*", kind: Ticket, owner: numbered},
	{pattern: "images"},
	{pattern: "images/.lock-*"},
	{pattern: "images/.*", kind: Unknown, owner: ofNobody, whole: true}, // builds that nobody goes on with
	{pattern: "images/layers"},
	{pattern: "images/layers/.lock-*"},
	{pattern: "images/layers/.*", kind: Unknown, owner: ofNobody, whole: true},
	{pattern: "images/layers/*", whole: true},
	{pattern: "images/*", whole: true},
	{pattern: "pools"},
	{pattern: "pools/*", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/lock", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/opened.json", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/served.json", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/ledger", kind: PoolFile, owner: ofPool, whole: true}, // it has bounds of its own
	{pattern: "pools/*/control.sock", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/plugin.log*", kind: PoolFile, owner: ofPool}, // it has a bound of its own
	{pattern: "pools/*/breaker.json", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/forks.json", kind: PoolFile, owner: ofPool}, // what forks were seen to take
	{pattern: "pools/*/template-time.json", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/ended", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/ended/.*", kind: Unknown, owner: ofNobody, whole: true},
	{pattern: "pools/*/ended/*.json", kind: End, owner: ofPool},
	{pattern: "pools/*/ended/*.console", kind: Console, owner: ofPool},
	{pattern: "pools/*/templates", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/templates/.lock", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/templates/.*", kind: Unknown, owner: ofNobody, whole: true},
	{pattern: "pools/*/templates/*", kind: Template, owner: ofPool, whole: true},
	{pattern: "pools/*/workers", kind: PoolFile, owner: ofPool},
	{pattern: "pools/*/workers/*", kind: Directory, owner: ofWorker},
	{pattern: "pools/*/workers/*/worker.json", kind: Record, owner: ofWorker},
	{pattern: "pools/*/workers/*/*", whole: true}, // the directory tells of it
}

// seeFiles lists what is below the state directory, and knows each place there.
func seeFiles(h Host) (things []Thing, err error) {
	err = filepath.WalkDir(h.StateDir, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || file == h.StateDir {
			return nil
		}
		if err != nil {
			return err
		}
		relative := file[len(h.StateDir)+1:]
		at := slices.IndexFunc(places, func(p place) bool {
			fits, _ := path.Match(p.pattern, relative)
			return fits
		})
		found := place{kind: Unknown, owner: ofNobody, whole: true}
		if at >= 0 {
			found = places[at]
		}
		if found.owner != nil {
			things = append(things, Thing{found.kind, file, found.owner(file, strings.Split(relative, "/"))})
		}
		if found.whole && entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return things, err
}
