//go:build linux

package nspawn

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// rootDir is the container's root file system in the worker's directory. Its path
// is on the supervisor's command line, and tells which worker that belongs to.
const rootDir = "root"

func (b *Backend) directory(id string) string {
	return filepath.Join(b.options.WorkersDir, id, rootDir)
}

// unit is the name of the worker's control group and scope, without the scope's
// suffix. A digest of WorkersDir in it tells pools of one name in two state
// directories apart.
func (b *Backend) unit(id string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(b.options.WorkersDir)))
	return "mayfly-" + hex.EncodeToString(sum[:4]) + "-" + id
}

const scopeSuffix = ".scope"

// group is the worker's control group. It has the same name under systemd and
// without it, so that there is one way to find it.
func (b *Backend) group(hierarchies []cgroup.Hierarchy, id string) cgroup.Group {
	return cgroup.New(hierarchies, process.Slice, b.unit(id)+scopeSuffix)
}

// groups are the ids of the workers of this pool that have a control group.
func (b *Backend) groups() (ids []string, err error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	names, err := cgroup.List(hierarchies, process.Slice)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, ours := strings.CutPrefix(strings.TrimSuffix(name, scopeSuffix), b.unit(""))
		if ours && workerid.Valid(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
