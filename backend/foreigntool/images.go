package foreigntool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Note is what is known of a golden image beside its manifest. It is secret: it
// holds the keys of the machines made from it.
type Note struct {
	// OS is the guest's system, as Go names it.
	OS   string      `json:"os"`
	Keys remote.Keys `json:"keys"`
}

// GoldenName is what the tool calls the golden machine of an image.
func GoldenName(digest string) string { return "mayfly-" + digest }

// Images are the golden images of a pool. Each is a machine of the tool, and a
// directory with a manifest and a note of type N: a Note, or what embeds one.
type Images[N any] struct {
	Options
	Tool Tool
	// NoteFile is the name of the file with the note.
	NoteFile string
	// Destroy is the backend's.
	Destroy func(ctx context.Context, id string) error
}

// Prebuild is one golden machine in the making. It is named by the id of its
// place until it is finished.
type Prebuild struct {
	stage.Place
	Recipe   image.Recipe
	Progress image.Progress
}

// Build returns the golden image of a recipe. Unless both its directory and its
// machine are there, prebuild makes the machine, and leaves it off, or saved.
func (i Images[N]) Build(ctx context.Context, recipe image.Recipe, progress image.Progress,
	prebuild func(context.Context, Prebuild) (N, error),
) (image.Golden, error) {
	images, name := cache.New(i.ImagesDir), GoldenName(recipe.Digest())
	machine, err := i.Tool.Exists(ctx, name)
	if err != nil {
		return image.Golden{}, err
	}
	golden, found, err := images.Get(recipe.Digest())
	if err != nil {
		return image.Golden{}, err
	}
	if found && !machine {
		if err := os.RemoveAll(golden.Dir); err != nil {
			return image.Golden{}, err
		}
	}
	prebuilds := stage.Stage{Pool: i.Pool, WorkersDir: i.WorkersDir, Network: network.None{}, Destroy: i.Destroy}
	return images.Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		return "", prebuilds.Run(ctx, "image "+recipe.Digest(), func(at stage.Place) error {
			note, err := prebuild(ctx, Prebuild{at, recipe, progress})
			if err != nil {
				return err
			}
			if err := cache.WriteNote(work, i.NoteFile, note); err != nil {
				return err
			}
			if err := i.Tool.Remove(ctx, name); err != nil { // its directory is gone, so nobody uses it
				return err
			}
			return i.Tool.Rename(ctx, at.ID, name)
		})
	})
}

// Open returns the note of a golden image whose machine is there. Without the
// machine it removes the image's directory too, so that the pool has the image
// built again, and returns an error.
func (i Images[N]) Open(ctx context.Context, golden image.Golden) (note N, err error) {
	if note, err = i.Note(golden); err != nil {
		return note, err
	}
	name := GoldenName(golden.Digest)
	found, err := i.Tool.Exists(ctx, name)
	if err == nil && !found {
		err = errors.Join(fmt.Errorf("golden machine %s is gone", name), os.RemoveAll(golden.Dir))
	}
	return note, err
}

// Note reads the note of a golden image.
func (i Images[N]) Note(golden image.Golden) (note N, err error) {
	err = cache.ReadNote(golden.Dir, i.NoteFile, &note)
	return note, err
}

// Seal logs in to a guest that boots for the first time, makes it golden, and asks
// it to power off. It fails when the machine ends before.
func (p Prebuild) Seal(ctx context.Context, m backend.Machine, locate remote.Locate, first remote.Login) (Note, error) {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	p.Progress("boot", "")
	system, keys, err := remote.MakeGolden(ctx, locate, first, p.Recipe, p.Progress)
	return Note{OS: system, Keys: keys}, err
}
