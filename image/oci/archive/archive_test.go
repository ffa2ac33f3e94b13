//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, func() func() { return func() {} })) }

// makeTree makes one of everything that a tree may have.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.MkdirAll(in("usr/bin"), 0o755))
	require.NoError(t, os.MkdirAll(in("home/job/.ssh"), 0o700))
	require.NoError(t, os.WriteFile(in("usr/bin/sudo"), []byte("elf"), 0o755))
	require.NoError(t, os.Chown(in("usr/bin/sudo"), 2103836672, 2103836672+33))
	require.NoError(t, unix.Chmod(in("usr/bin/sudo"), 0o4755))
	require.NoError(t, os.Link(in("usr/bin/sudo"), in("usr/bin/sudoedit")))
	require.NoError(t, os.Symlink("/etc/shadow", in("usr/absolute")))
	require.NoError(t, os.Symlink("../../../..", in("usr/up")))
	require.NoError(t, os.Lchown(in("usr/up"), 7, 8))
	require.NoError(t, unix.Mkfifo(in("home/fifo"), 0o640))
	require.NoError(t, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, os.WriteFile(in("ping"), []byte("x"), 0o755))
	capability := make([]byte, 20) // revision 2, cap_net_raw+ep
	binary.LittleEndian.PutUint32(capability, 0x02000001)
	binary.LittleEndian.PutUint32(capability[4:], 1<<13)
	require.NoError(t, unix.Lsetxattr(in("ping"), "security.capability", capability, 0))
	sparse, err := os.Create(in("lastlog"))
	require.NoError(t, err)
	_, err = sparse.WriteAt([]byte("end"), 1<<20)
	require.NoError(t, err)
	require.NoError(t, sparse.Close())
	require.NoError(t, os.Chmod(in("home"), 0o2775|os.ModeSetgid))
	at := time.Unix(1700000000, 123456789)
	for _, name := range []string{"usr/bin/sudo", "usr/bin", "home", "ping", "."} {
		require.NoError(t, os.Chtimes(in(name), at, at))
	}
	return dir
}

// describeTree is all that a tree has, by name.
func describeTree(t *testing.T, dir string) map[string][]any {
	t.Helper()
	all := make(map[string][]any)
	first := make(map[uint64]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		one := []any{stat.Mode, stat.Uid, stat.Gid, stat.Rdev, stat.Mtim}
		switch info.Mode().Type() {
		case 0:
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			value := make([]byte, 100)
			n, _ := unix.Lgetxattr(path, "security.capability", value)
			one = append(one, stat.Nlink, string(text), string(value[:max(n, 0)]))
			if stat.Nlink > 1 {
				if first[stat.Ino] == "" {
					first[stat.Ino] = name
				}
				one = append(one, first[stat.Ino])
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			require.NoError(t, err)
			one = append(one, target)
		}
		all[name] = one
		return nil
	}))
	return all
}

func TestTreeIsTheSameAfterItsWay(t *testing.T) {
	sandbox.Need(t)
	dir := makeTree(t)
	var one, two bytes.Buffer
	require.NoError(t, Write(t.Context(), dir, &one))
	require.NoError(t, Write(t.Context(), dir, &two))
	require.True(t, bytes.Equal(one.Bytes(), two.Bytes()), "the same tree is the same stream")
	made := filepath.Join(t.TempDir(), "made")
	require.NoError(t, Read(t.Context(), &two, int64(two.Len()), made))
	require.Equal(t, describeTree(t, dir), describeTree(t, made))
	var again bytes.Buffer
	require.NoError(t, Write(t.Context(), made, &again))
	require.True(t, bytes.Equal(one.Bytes(), again.Bytes()), "and so is its copy")
	info, err := os.Stat(filepath.Join(made, "lastlog"))
	require.NoError(t, err)
	require.LessOrEqual(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(64<<10), "holes stay holes")
}

func TestWhatATreeMayNotHaveIsNotArchived(t *testing.T) {
	sandbox.Need(t)
	dir := t.TempDir()
	require.NoError(t, unix.Mknod(filepath.Join(dir, "sda"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))))
	require.ErrorContains(t, Write(t.Context(), dir, &bytes.Buffer{}), "archiving /sda")
}

type entry struct {
	tar.Header
	content string
}

func archived(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	top := entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}}
	for _, e := range append([]entry{top}, entries...) {
		e.Size = int64(len(e.content))
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// TestNothingIsMadeOutsideOfTheTree tries the ways out that tar files know.
func TestNothingIsMadeOutsideOfTheTree(t *testing.T) {
	sandbox.Need(t)
	file := func(name string) entry {
		return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, "evil"}
	}
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("whole"), 0o644))
	header := func(kind byte, name, to string) entry {
		return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o755}}
	}
	link := header(tar.TypeSymlink, "out", outside)
	device := func(kind byte, major, minor int64) entry {
		return entry{Header: tar.Header{Typeflag: kind, Name: "device", Devmajor: major, Devminor: minor}}
	}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"up":                       {[]entry{file("../evil")}, "not the name of a file"},
		"up inside":                {[]entry{file("a/../../evil")}, "not the name of a file"},
		"absolute":                 {[]entry{file(filepath.Join(outside, "evil"))}, "not the name of a file"},
		"through a link":           {[]entry{link, file("out/evil")}, "no directory that it could lie in"},
		"over a link":              {[]entry{header(tar.TypeSymlink, "v", outside+"/victim"), file("v")}, "exists"},
		"directory = link":         {[]entry{link, header(tar.TypeDir, "out/", "")}, "exists"},
		"hard link":                {[]entry{header(tar.TypeLink, "h", "../../etc/passwd")}, "not the name of a file"},
		"hard link through a link": {[]entry{link, header(tar.TypeLink, "h", "out/victim")}, "did not come before"},
		"hard link to a link":      {[]entry{link, header(tar.TypeLink, "h", "out")}, "and not to a file"},
		"block device":             {[]entry{device(tar.TypeBlock, 8, 0)}, "none of a tree"},
		"memory":                   {[]entry{device(tar.TypeChar, 1, 1)}, "device 1:1"},
		"overlay": {[]entry{{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, Format: tar.FormatPAX,
			PAXRecords: map[string]string{xattrRecord + "trusted.overlay.redirect": "/"}}}}, "extended attribute"},
		"owner": {[]entry{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Uid: -2, Format: tar.FormatGNU}}},
			"no owners"},
		"twice": {[]entry{file("a"), file("a")}, "exists"},
	} {
		t.Run(name, func(t *testing.T) {
			text := archived(t, c.entries...)
			err := Read(t.Context(), bytes.NewReader(text), int64(len(text)), filepath.Join(t.TempDir(), "root"))
			require.ErrorContains(t, err, c.want)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Len(t, left, 1)
			text, err = os.ReadFile(filepath.Join(outside, "victim"))
			require.NoError(t, err)
			require.Equal(t, "whole", string(text))
		})
	}
}

// A sparse entry says that it has more bytes than all of the archive.
func TestFilesAreNoLargerThanTheirArchive(t *testing.T) {
	sandbox.Need(t)
	text := archived(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o644}, strings.Repeat("x", 2000)})
	require.ErrorContains(t, Read(t.Context(), bytes.NewReader(text), 1999, filepath.Join(t.TempDir(), "root")),
		"more bytes than the archive")
	require.ErrorContains(t, Read(t.Context(), bytes.NewReader(nil), 0, filepath.Join(t.TempDir(), "root")), "empty")
}

func FuzzRead(f *testing.F) {
	f.Add(archived(f,
		entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}},
		entry{tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o644}, "x"},
		entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "d/f"}},
		entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "s", Linkname: "/etc"}}))
	f.Fuzz(func(t *testing.T, text []byte) {
		sandbox.Need(t)
		outside := t.TempDir()
		_ = Read(t.Context(), bytes.NewReader(text), int64(len(text)), filepath.Join(outside, "root"))
		left, err := os.ReadDir(outside)
		require.NoError(t, err)
		require.Len(t, left, 1)
	})
}
