package bhyve

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
)

// snapshotName is the snapshot of a golden guest that workers are cloned from.
const snapshotName = "golden"

// mark is a key of a guest's configuration that says that the guest is ours.
// vm-bhyve ignores what it does not know, and clones keep it.
const mark = "mayfly"

// createArguments is a guest of an image, which cloud-init lets the key into.
func createArguments(name, template, img, publicKeyFile string, size backend.Size, disk int64) []string {
	return []string{"create", "-t", template, "-s", mebibytes(disk),
		"-c", strconv.Itoa(size.CPUs), "-m", mebibytes(size.Memory), "-i", img, "-C", "-k", publicKeyFile, name}
}

// mebibytes is a size as zfs and bhyve both read it.
func mebibytes(size int64) string { return strconv.FormatInt(size>>20, 10) + "M" }

// cloneArguments always names a snapshot: without one vm-bhyve makes one for
// each clone, and never removes it.
func cloneArguments(source, snapshot, name string) []string {
	return []string{"clone", source + "@" + snapshot, name}
}

// sysrcArguments set a guest's hardware and its MAC, which vm-bhyve would make
// up only when the guest starts. A reboot ends it: its job is over.
func sysrcArguments(file, mac string, size backend.Size) []string {
	return []string{"-f", file,
		"network0_mac=" + mac, "cpu=" + strconv.Itoa(size.CPUs), "memory=" + mebibytes(size.Memory),
		"on_restart=shutdown", mark + "=yes"}
}

// With -f vm-bhyve asks no question: it would take the end of its input for yes.
func powerOffArguments(name string) []string { return []string{"poweroff", "-f", name} }
func destroyArguments(name string) []string  { return []string{"destroy", "-f", name} }

// macOf is the MAC of a guest. It follows from the guest's name, so that it is
// known before there is a guest, and without a record. It is locally
// administered; 40 bits are of a hash.
func macOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// compressions are endings of what vm img unpacks, a name ending so becomes
// one without.
var compressions = []string{".xz", ".gz"}

// importName is the name under which a file is imported, and the one that it
// has then among vm-bhyve's images.
func importName(digest, file string) (before, after string, err error) {
	base := filepath.Base(file)
	if strings.HasSuffix(base, ".tar.gz") || strings.HasSuffix(base, ".tgz") {
		return "", "", fmt.Errorf("image.source %q is an archive, and the name of the image in it is not known: "+
			"unpack it, and name the image", file)
	}
	before, after = foreigntool.GoldenName(digest)+".img", foreigntool.GoldenName(digest)+".img"
	for _, ending := range compressions {
		if strings.HasSuffix(base, ending) {
			before += ending
		}
	}
	return before, after, nil
}
