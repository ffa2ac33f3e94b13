package initrd

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// archive writes a cpio archive in the "new ASCII" format, the one that the
// kernel unpacks. Owners and times are zero, so that equal content makes equal
// bytes.
type archive struct {
	to    io.Writer
	inode int
}

// The kinds of files, as in st_mode.
const (
	kindDirectory = 0o040000
	kindCharacter = 0o020000
	kindRegular   = 0o100000
)

func (a *archive) directory(name string) error {
	return a.write(entry{name: name, mode: kindDirectory | 0o755})
}

// console adds /dev/console, which the kernel opens for /init before /dev can be
// mounted.
func (a *archive) console() error {
	return a.write(entry{name: "dev/console", mode: kindCharacter | 0o600, major: 5, minor: 1})
}

func (a *archive) file(name string, permissions int, content []byte) error {
	return a.write(entry{name: name, mode: kindRegular | permissions, content: content})
}

func (a *archive) close() error { return a.write(entry{name: "TRAILER!!!"}) }

type entry struct {
	name         string
	mode         int
	major, minor int
	content      []byte
}

// write writes a header of eight-digit hexadecimal fields, the name and the
// content, the last two padded to four bytes.
func (a *archive) write(e entry) error {
	if e.name == "" || strings.ContainsRune(e.name, 0) || int64(len(e.content)) > math.MaxUint32 {
		return fmt.Errorf("an archive holds no %q of %d bytes", e.name, len(e.content))
	}
	a.inode++
	var header strings.Builder
	header.WriteString("070701")
	for _, field := range []int{
		a.inode, e.mode, 0, 0, 1, 0, len(e.content), // inode, mode, uid, gid, links, time, size
		0, 0, e.major, e.minor, len(e.name) + 1, 0, // device of the file, device that it is, name, checksum
	} {
		fmt.Fprintf(&header, "%08X", field)
	}
	header.WriteString(e.name + "\x00")
	header.WriteString(padding(header.Len()))
	for _, part := range [][]byte{[]byte(header.String()), e.content, []byte(padding(len(e.content)))} {
		if _, err := a.to.Write(part); err != nil {
			return fmt.Errorf("writing %s to the archive: %w", e.name, err)
		}
	}
	return nil
}

func padding(length int) string { return "\x00\x00\x00"[:(4-length%4)%4] }
