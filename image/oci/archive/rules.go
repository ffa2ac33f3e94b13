//go:build linux

package archive

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// maxAttribute is how many bytes Linux takes for an extended attribute, and for the
// list of their names.
const maxAttribute = 64 << 10

// travels tells whether an extended attribute belongs to a tree: capabilities, access
// control lists and what users note. Others are the host's, such as those of security
// modules, and of overlays, by which a layer leads to other places.
func travels(name string) bool {
	known := []string{"security.capability", "system.posix_acl_access", "system.posix_acl_default"}
	return slices.Contains(known, name) || strings.HasPrefix(name, "user.")
}

// devices are the character devices that a tree may have, by major and minor number:
// null, zero, full, random and urandom; tty, console and ptmx; and the mark of an
// overlay for what is removed. None of them leads to the host's hardware.
var devices = [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {0, 0}}

func checkDevice(h *tar.Header) error {
	if !slices.Contains(devices, [2]int64{h.Devmajor, h.Devminor}) {
		return fmt.Errorf("device %d:%d is none that an image's tree may have", h.Devmajor, h.Devminor)
	}
	return nil
}

// checkName refuses a name that is not one plain way down from the root.
func checkName(name string) error {
	if name == "" || len(name) > 4096 || !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return fmt.Errorf("%.100q is not the name of a file in a tree", name)
	}
	return nil
}
