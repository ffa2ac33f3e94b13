// Package foreigntool is what the backends share whose machines are kept by a
// tool of others, such as Tart or vm-bhyve, and whose guests have no agent of
// ours: golden images that are machines of the tool, workers that are cloned
// from them and entered over SSH, and the run of a command. What a tool is told,
// and what it answers, is in its own backend.
package foreigntool

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Options are what every such backend needs from its surroundings.
type Options struct {
	// Pool is the pool's name. WorkersDir holds the directories of its workers.
	Pool, WorkersDir string
	// ImagesDir holds what is known of golden images, StateDir what all pools
	// share.
	ImagesDir, StateDir string
	// Source is what images are made from.
	Source image.Source
	// User and Password are for an image's first login. Workers have keys.
	User, Password string
}

// Tool keeps machines by name. Those of workers are named by their ids, golden
// ones by GoldenName.
type Tool interface {
	Exists(ctx context.Context, name string) (bool, error)
	// Rename makes a machine that is off, or saved, the golden one of that name.
	Rename(ctx context.Context, id, golden string) error
	// Remove ends and deletes a machine. One that does not exist is no error.
	Remove(ctx context.Context, name string) error
}

// Owns says whether a machine of that name is a worker of the pool.
func (o Options) Owns(name string) bool {
	_, owns := workerid.Key(o.Pool, name)
	return owns
}

// CheckDestroy says whether the backend may destroy the machine of a worker. The
// tool has machines of other pools too: those are left alone, and a name that no
// worker of any pool can have is an error.
func (o Options) CheckDestroy(id string) (ours bool, err error) {
	if !workerid.Valid(id) {
		return false, fmt.Errorf("%q is not a valid worker id", id)
	}
	return o.Owns(id), nil
}

// SourceFinding reports for doctor whether the tool takes the source of images;
// refused is why not.
func (o Options) SourceFinding(refused error, mend string) doctor.Finding {
	if refused != nil {
		return doctor.Finding{Level: doctor.Missing, What: "image.source", Detail: refused.Error(), Mend: mend}
	}
	return doctor.Finding{Level: doctor.OK, What: "image.source", Detail: o.Source.Kind + ":" + o.Source.Location}
}
