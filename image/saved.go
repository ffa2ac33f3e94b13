package image

import (
	"fmt"
	"time"
)

// SavedRecipe is the recipe of the image that a shell in a clone of another image leaves
// under a name. A configuration that asks for that name and nothing else, of the same
// program, asks for the same recipe.
func SavedRecipe(of Recipe, name string, at time.Time) Recipe {
	return Recipe{
		Source: Source{Kind: Saved, Location: name, SavedAt: at.UTC().Round(0)},
		User:   of.User, Disk: of.Disk, Form: of.Form,
		Agent: of.Agent, AgentSHA256: of.AgentSHA256,
		GitLabRunner: of.GitLabRunner, GitLabRunnerSHA256: of.GitLabRunnerSHA256,
		CPUs: of.CPUs, Memory: of.Memory,
	}
}

// ByHand says that a shell has left the image, so that no build can make it again. One
// that a build has made of such an image has steps.
func (m Manifest) ByHand() bool { return m.Recipe.Source.Kind == Saved && len(m.Steps) == 0 }

// GoesOn says why a build of the recipe cannot go on from a saved image: what the first
// boot of that has made is not made again.
func (r Recipe) GoesOn(saved Recipe) error {
	switch {
	case saved.Form != r.Form:
		return fmt.Errorf("it is not of the form that this backend needs: save one with this backend")
	case saved.User != r.User:
		return fmt.Errorf("its jobs log in as %q and this pool's as %q: "+
			"set connector_config.username to %q, or save one of an image for this user",
			saved.User, r.User, saved.User)
	case saved.Disk != r.Disk:
		return fmt.Errorf("its disk has %d bytes and machine.disk asks for %d: set machine.disk to %q",
			saved.Disk, r.Disk, fmt.Sprintf("%dMiB", saved.Disk>>20))
	}
	return nil
}
